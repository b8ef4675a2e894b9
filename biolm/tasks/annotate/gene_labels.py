"""Label genes from labelled genes, such as dosage-sensitive transcription factors.

Dimensions: ``r`` genes · ``d`` width · ``c`` classes · ``u`` tokens of all cells.

Frozen (``linear``): regression on the vectors a model holds of its genes or, where cells are given and the
model reads tokens, makes of them in these cells. Trained (``head``, ``lora``, ``full``): a classifier of
tokens, as Geneformer's; a gene's probabilities are the mean over its tokens. Whole genes are held out: no
token of a test gene is labelled in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.cell_tables import open_table
from biolm.io.gene_list import gene_rows
from biolm.io.table import write_table
from biolm.jobs.bind import loaded
from biolm.jobs.cells import CellEmbedding, prepare
from biolm.models.catalogue import DEFAULT_GENES
from biolm.models.model import CellModel
from biolm.options import chosen_options, read_options
from biolm.scoring.baselines import BASELINES, fit_linear
from biolm.scoring.splits import holdout, kfold
from biolm.tasks.annotate.calibrate import probabilities, temperature_of
from biolm.tasks.annotate.linear import fit_member
from biolm.tasks.annotate.score import Row, row, verdict
from biolm.tasks.annotate.settings import TRAINED, FitSettings, GeneFitSettings
from biolm.tasks.annotate.token_runs import read_tokens, run_settings
from biolm.tasks.genes.vectors import contextual, static, token_model_of

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["GeneCalls", "label_genes", "read_gene_table"]

SCHEMA = "biolm.gene_labels/1"


@dataclass(frozen=True, eq=False)
class GeneCalls:
    """Genes and what they were called.

    Parameters
    ----------
    genes
        ``(r,)`` ids of the model's vocabulary.
    labels
        ``(r,)`` label that was given, '' where none was.
    classes
        ``c`` names.
    probabilities
        ``(r, c)`` calibrated; of labelled genes by ``linear`` from a model that did not see the gene.
    report
        Held-out scores, beside the majority class and (with cells) how much and how often a gene is found.
    """

    genes: NDArray[np.str_]
    labels: NDArray[np.str_]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    report: Mapping[str, Any]

    def write(self, target: Path, *, overwrite: bool = False) -> None:
        """Write a table (``.tsv``, ``.csv`` or ``.parquet``) with one row a gene.

        Parameters
        ----------
        target
            The output; its ending names the format.
        overwrite
            Whether it may be replaced.
        """
        columns: dict[str, NDArray[Any]] = {
            "gene": self.genes,
            "label": self.labels,
            "called": np.array(self.classes)[self.probabilities.argmax(1)],
            "confidence": self.probabilities.max(1),
        }
        columns |= {f"p_{name}": self.probabilities[:, place] for place, name in enumerate(self.classes)}
        write_table(target, [columns], dict(self.report), schema=SCHEMA, overwrite=overwrite)


def label_genes(
    table: str | Path | Mapping[str, str],
    *,
    label: str | None = None,
    data: str | Path | AnnData | None = None,
    model: str | Path | CellModel = DEFAULT_GENES,
    **options: Any,
) -> GeneCalls:
    """Learn labels of genes, and call all genes.

    Parameters
    ----------
    table
        Labels by gene, or a table with a header whose first column names genes.
    label
        Column of the table.
    data
        Cells, for vectors in context and for trained methods.
    model
        Built-in name, folder, hub id or loaded model.
    options
        See :class:`biolm.tasks.annotate.settings.GeneFitSettings`.

    Raises
    ------
    BiolmError
        If table, cells or model cannot be used.

    Examples
    --------
    >>> genes = {"CD3D": "T", "CD3E": "T", "CD2": "T", "CD79A": "B", "MS4A1": "B", "CD19": "B"}
    >>> calls = label_genes(genes)
    >>> calls.classes
    ('B', 'T')
    """
    settings: GeneFitSettings = read_options(GeneFitSettings, options, "annotate genes")
    _check_cells(data, settings)
    given = table if isinstance(table, Mapping) else read_gene_table(Path(table), label)
    reader = loaded(model)
    if settings.method in TRAINED:
        return _trained(given, data, reader, settings)
    vectors, genes = _vectors(data, reader, settings)
    codes, classes = _codes(given, genes, reader, settings)
    return _frozen(vectors, genes, codes, classes, _levels(data, reader, genes, settings), settings)


def _check_cells(data: Any, settings: GeneFitSettings) -> None:
    """Refuse options of reading cells where there are none to read."""
    names = ("layer", "transpose", "gene_column", "minimum_match", "match", "allow_normalised")
    chosen = chosen_options(settings, GeneFitSettings)
    for name in names if data is None else ():
        if name in chosen:
            raise ConfigError(f"`{name}` says how cells are read, and there are none; leave it out")


def read_gene_table(path: Path, label: str | None) -> dict[str, str]:
    """Labels by gene, from a tab- or comma-separated table.

    Parameters
    ----------
    path
        Of the table.
    label
        Name of the column.

    Raises
    ------
    InputError
        If it cannot be read, has no such column, or gives a gene two labels.
    """
    rows = gene_rows(path)
    header = rows[0] if rows else []
    column = label or (header[1] if len(header) > 1 else "")
    if column not in header[1:]:
        raise InputError(
            f"{path} has no column '{column}' beside the genes; it has {', '.join(header) or 'nothing'}"
        )
    place = header.index(column)
    lines = [line for line in rows[1:] if len(line) > place and line[place]]
    given = {line[0]: line[place] for line in lines}
    _refuse_contradictions([line[0] for line in lines if given[line[0]] != line[place]])
    return given


def _refuse_contradictions(genes: list[str]) -> None:
    if genes:
        names = ", ".join(dict.fromkeys(genes[:5])) + (" ..." if len(genes) > 5 else "")
        raise InputError(f"genes have two different labels ({names}); keep one label for each gene")


def _vectors(
    data: Any, model: CellModel, settings: FitSettings
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Vectors ``(r, d)`` and ids of genes: in context where there are cells and tokens."""
    options: Any = {
        "gene_column": settings.gene_column,
        "minimum_match": settings.minimum_match,
        "match": settings.match,
        "species": settings.species,
        "layer": settings.layer,
        "transpose": settings.transpose,
        "allow_normalised": settings.allow_normalised,
    }
    if data is None:
        gene_vectors = static(model)
    elif hasattr(model, "preprocessor"):
        gene_vectors = contextual(data, model=model, device=settings.device, seed=settings.seed, **options)
    else:
        gene_vectors = static(model, data, **options)
    return gene_vectors.vectors, gene_vectors.ids


def _codes(
    given: Mapping[str, str], genes: NDArray[np.str_], model: CellModel, settings: FitSettings
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """``(r,)`` class of each gene, -1 where it has none, and the names.

    Raises
    ------
    InputError
        If too few of the labelled genes are among ``genes`` to learn and to test each class, or two names of
        one gene have different labels.
    """
    names = np.array(list(given), dtype=str)
    target = model.vocabulary.match({"gene": names}, minimum=0, species=settings.species).target
    ids = np.array(model.vocabulary.genes)
    places = {gene: place for place, gene in enumerate(genes.tolist())}
    classes = tuple(sorted(set(given.values())))
    codes = np.full(len(genes), -1, np.int64)
    against: list[str] = []
    for name, to in zip(names.tolist(), target.tolist(), strict=True):
        if to < 0 or str(ids[to]) not in places:
            continue
        place, code = places[str(ids[to])], classes.index(given[name])
        # Two names may resolve to one gene; that they disagree is seen only here.
        if codes[place] not in (-1, code):
            against.append(name)
        codes[place] = code
    _refuse_contradictions(against)
    sizes = np.bincount(codes[codes >= 0], minlength=len(classes))
    if len(classes) < 2 or sizes.min() < 3:
        sizes_named = ", ".join(f"'{name}' {size}" for name, size in zip(classes, sizes, strict=True))
        raise InputError(
            f"labels of genes need two classes with three known genes each, but there "
            f"are: {sizes_named or 'none'}"
        )
    return codes, classes


def _frozen(
    vectors: NDArray[np.float32],
    genes: NDArray[np.str_],
    codes: NDArray[np.int64],
    classes: tuple[str, ...],
    levels: NDArray[np.float32] | None,
    settings: FitSettings,
) -> GeneCalls:
    """Cross-validated by gene; genes without a label are called by the fit on all labelled ones.

    Genes with the very same vector, such as orthologs of a model that reads two species, stay on one side.
    """
    known = np.flatnonzero(codes >= 0)
    truth = codes[known]
    # Genes that share a vector (paralogs, one text) would be learned and tested at once; they count as
    # copies.
    same = np.unique(vectors[known], axis=0, return_inverse=True)[1].reshape(-1)
    unseen = np.zeros((len(known), len(classes)))
    by_method: dict[str, NDArray[np.float64]] = {"majority class": np.zeros_like(unseen)}
    if levels is not None:
        by_method["expression level"] = np.zeros_like(unseen)
    # Folds hold whole groups of copies, so a class has as many units as it has different vectors.
    units = truth[np.unique(same, return_index=True)[1]]
    folds = min(5, int(np.bincount(units, minlength=len(classes)).min()))
    if folds < 2:
        raise InputError("a class has one gene, or genes that share one vector; label more genes of it")
    for split in kfold(truth.astype(str), folds=folds, copies=same, seed=settings.seed):
        unseen[split.test] = _logits(vectors[known], truth, split.train, len(classes))[split.test]
        names = truth[split.train].astype(str)
        shares = BASELINES["majority class"](vectors[known][split.train], names)
        by_method["majority class"][split.test] = shares.predict_proba(vectors[known][split.test])
        if levels is not None:
            level = fit_linear(levels[known][split.train], names)
            by_method["expression level"][split.test] = level.predict_proba(levels[known][split.test])
    temperature = temperature_of(unseen, truth)
    called = probabilities(_logits(vectors, codes, known, len(classes)), temperature)
    # Labelled genes get what was said while they were held out, so that no call is a memory.
    called[known] = probabilities(unseen, temperature)
    rows = [row("biolm linear", truth, called[known], settings.seed)]
    rows += [row(name, truth, values, settings.seed) for name, values in by_method.items()]
    report = {"folds": folds, "genes_that_share_a_vector": len(known) - len(units)}
    return _calls(genes, codes, classes, called, report | _scores(rows))


def _scores(rows: list[Row]) -> dict[str, Any]:
    """The method's scores, then those of the baselines, and what the comparison says."""
    return {"scores": [each.facts for each in rows], "verdict": verdict(rows[:1], rows[1:])}


def _logits(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], train: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """``(r, c)`` logits of all rows after learning from some."""
    from scipy.sparse import csr_matrix

    empty = csr_matrix((len(train), 0), dtype=np.float32)
    fitted = fit_member("embedding", vectors[train], empty, codes[train], n_classes, 0)
    return np.asarray(vectors @ fitted.vectors + fitted.bias, dtype=np.float64)


def _levels(
    data: Any, model: CellModel, genes: NDArray[np.str_], settings: FitSettings
) -> NDArray[np.float32] | None:
    """``(r, 2)`` log mean count and fraction of cells of each gene: what a label may come down to."""
    if data is None:
        return None
    with open_table(data, matrix=settings.matrix) as source:
        match = prepare(source, model, settings).match
        sums, counts = np.zeros(len(model.vocabulary)), np.zeros(len(model.vocabulary))
        for block in source.blocks():
            target = match.target[block.indices]
            np.add.at(sums, target[target >= 0], block.data[target >= 0])
            np.add.at(counts, target[target >= 0], block.data[target >= 0] > 0)
        cells = source.n_cells
    order = {gene: place for place, gene in enumerate(model.vocabulary.genes)}
    rows = [order[gene] for gene in genes.tolist()]
    return np.stack([np.log1p(sums[rows] / cells), counts[rows] / cells], axis=1).astype(np.float32)


def _trained(given: Mapping[str, str], data: Any, model: CellModel, settings: FitSettings) -> GeneCalls:
    """A classifier of tokens; a fifth of the genes is held out."""
    if data is None:
        raise ConfigError(f"method {settings.method} trains on cells; give some")
    reader = token_model_of(model)
    from biolm.training.data.labels import IGNORED, LabelColumn
    from biolm.training.fine_tune import fine_tune

    with open_table(data, matrix=settings.matrix) as source:
        job: CellEmbedding = prepare(source, reader, settings)
        tokens = read_tokens(job)
    token_ids = np.asarray(reader.preprocessor.tokenizer.token_ids)  # type: ignore[attr-defined]  # checked above
    # From token id to gene: special tokens have none and keep -1.
    place = np.full(reader.core.config.vocab_size, -1, np.int64)
    place[token_ids] = np.arange(len(token_ids))
    rows = np.unique(place[tokens.ids])
    rows = rows[rows >= 0]
    genes = np.array(reader.vocabulary.genes)[rows]
    codes, classes = _codes(given, genes, reader, settings)
    known = np.flatnonzero(codes >= 0)
    split = holdout(codes[known].astype(str), share=settings.test_share, seed=settings.seed)
    values = np.full(len(place), IGNORED, np.int64)
    # Held-out genes keep IGNORED: their tokens are read as context and never learned from.
    values[token_ids[rows[known[split.train]]]] = codes[known[split.train]]
    column = LabelColumn(values=values, classes=classes, level="vocabulary")
    objective = {"objective": "classify", "column": "gene", "level": "token", "class_weights": "balanced"}
    tuned = fine_tune(
        reader,
        tokens,
        {"gene": column},
        objectives={"gene": objective},
        settings=run_settings(len(tokens), tokens, settings),
    )
    predicted = tuned.predict(tokens, device=settings.device)["gene"].astype(np.float64)
    called = _means(probabilities(predicted), place[tokens.ids], rows)
    test = known[split.test]
    scores = [row(f"biolm {settings.method}", codes[test], called[test], settings.seed)]
    shares = np.bincount(codes[known[split.train]], minlength=len(classes)) / len(split.train)
    scores.append(row("majority class", codes[test], np.tile(shares, (len(test), 1)), settings.seed))
    return _calls(genes, codes, classes, called, {"test_genes": len(test), **_scores(scores)})


def _means(counts: NDArray[np.float64], place: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
    """``(r, c)`` mean over the tokens ``(u, c)`` of each gene."""
    used = place >= 0
    where = np.searchsorted(rows, place[used])
    sums = np.zeros((len(rows), counts.shape[1]))
    np.add.at(sums, where, counts[used])
    return np.asarray(sums / np.bincount(where, minlength=len(rows))[:, None])


def _calls(
    genes: NDArray[np.str_],
    codes: NDArray[np.int64],
    classes: tuple[str, ...],
    called: NDArray[Any],
    report: dict[str, Any],
) -> GeneCalls:
    labels = np.array([*classes, ""])[codes]
    return GeneCalls(genes, labels, classes, called.astype(np.float32), report)
