"""Vectors of genes: those a model holds, and those it makes of them in cells.

Dimensions: ``m`` genes · ``r`` rows, each a gene in a group of cells · ``d`` width · ``t`` tokens of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.batch import Batch, Tokens, pack
from biolm.errors import ConfigError, InputError
from biolm.io.anndata.convert import write_anndata
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cell_tables import open_table
from biolm.io.cells.labels import label_column
from biolm.io.provenance import plain
from biolm.io.table import TABLES, check_table, table_format, write_table
from biolm.jobs.bind import loaded, match_genes
from biolm.jobs.cells import prepare
from biolm.jobs.precision import settled
from biolm.jobs.settings import CellSettings, ReadingSettings
from biolm.models.catalogue import DEFAULT_GENES
from biolm.models.model import CellModel, EmbedOptions
from biolm.options import chosen_options, read_options
from biolm.progress import progress

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.token_model import TokenCellModel

__all__ = [
    "ContextSettings",
    "GeneVectors",
    "check_output",
    "contextual",
    "genes_of_file",
    "static",
    "token_model_of",
    "write_vectors",
]

SCHEMA = "biolm.genes/1"
_CELLS = 256


@dataclass(frozen=True, slots=True, eq=False)
class GeneVectors:
    """Genes and their vectors.

    Parameters
    ----------
    ids
        ``(r,)`` how the model calls the genes.
    names
        ``(r,)`` how the file calls them; the ids without a file.
    vectors
        ``(r, d)`` float32.
    provenance
        Provenance.
    cells
        ``(r,)`` cells that a mean was taken over; None for static vectors.
    groups
        ``(r,)`` group of those cells; None without groups.
    """

    ids: NDArray[np.str_]
    names: NDArray[np.str_]
    vectors: NDArray[np.float32]
    provenance: dict[str, Any]
    cells: NDArray[np.int64] | None = None
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns ``(r,)`` beside the vectors."""
        columns: dict[str, NDArray[Any]] = {"gene": self.names, "id": self.ids}
        if self.groups is not None:
            columns["group"] = self.groups
        if self.cells is not None:
            columns["cells"] = self.cells
        return columns

    def to_anndata(self) -> AnnData:
        """Genes as rows: vectors in ``X``, columns in ``obs``, provenance in ``uns["biolm"]["genes"]``."""
        import anndata
        import pandas as pd

        index = (
            self.names if self.groups is None else np.char.add(np.char.add(self.names, " / "), self.groups)
        )
        obs = pd.DataFrame(self.columns(), index=pd.Index(index))
        axes = pd.DataFrame(index=[str(axis) for axis in range(self.vectors.shape[1])])
        return anndata.AnnData(self.vectors, obs=obs, var=axes, uns={"biolm": {"genes": self.provenance}})


@dataclass(frozen=True, kw_only=True)
class StaticSettings(ReadingSettings):
    """How the genes of a file are found; nothing is random, and what is read is not computed with."""

    unused: ClassVar[dict[str, tuple[str, ...]]] = {"*": ("seed",)}


@dataclass(frozen=True, kw_only=True)
class ContextSettings(CellSettings):
    """How cells are read and a model of tokens is run."""

    unused: ClassVar[dict[str, tuple[str, ...]]] = {"*": ("pool", "compile", "block_rows")}


def static(
    model: str | Path | CellModel = DEFAULT_GENES,
    data: str | Path | AnnData | None = None,
    **options: Any,
) -> GeneVectors:
    """The vectors that a model holds of its genes, whatever the cell: its embedding table.

    Parameters
    ----------
    model
        Built-in name, folder of a checkpoint, hub id, or a loaded model.
    data
        Cells whose genes are kept, under the names that they have there; all of the model's by default.
    options
        How genes are found: as for :func:`biolm.embed`.

    Raises
    ------
    ConfigError
        If the model holds no vectors of genes.

    Examples
    --------
    >>> static("genetext", "data/cells/pbmc68k_reduced_counts_700.h5ad").vectors.shape
    (736, 48)
    """
    settings: StaticSettings = read_options(StaticSettings, options, "genes vectors")
    if data is None and chosen_options(settings, StaticSettings):
        name = next(iter(chosen_options(settings, StaticSettings)))
        raise ConfigError(f"`{name}` says how cells are read, and there are none; leave it out")
    reader = loaded(model)
    table = _table(reader)
    ids = np.array(reader.vocabulary.genes)
    metadata: dict[str, Any] = {"kind": "static", "model": reader.name, "checkpoint": reader.describe()}
    metadata["biolm_version"] = biolm.__version__
    if data is None:
        return GeneVectors(ids, ids, table, plain(metadata))
    with open_table(data, matrix=settings.matrix) as source:
        match = match_genes(source, reader, settings)
        rows, names = genes_of_file(source.gene_columns(), match.target)
    metadata["genes"] = match.report.as_dict()
    return GeneVectors(ids[rows], names, table[rows], plain(metadata))


def contextual(
    data: str | Path | AnnData,
    *,
    model: str | Path | CellModel,
    group: str | None = None,
    minimum_cells: int = 1,
    **options: Any,
) -> GeneVectors:
    """What a model makes of each gene in cells: the mean of its hidden state over the cells that express it.

    Cells are read in blocks and summed, so memory holds one block and a table of groups x genes x width.

    Parameters
    ----------
    data
        An AnnData, or the path of an h5ad, zarr, loom, 10x or csv table.
    model
        A model that gives every gene a state (Geneformer, scGPT, scBERT, UCE, one trained with biolm ...).
    group
        Column of the cell table, such as cell type: a vector for every gene in every group.
    minimum_cells
        Leave out genes that fewer cells of a group hold.
    options
        As for :func:`biolm.embed`; ``hidden_state`` says which state. What pools tokens means nothing here.

    Raises
    ------
    ConfigError
        If the model has no state of a gene in a cell.
    InputError
        If the column is missing, or no gene is left.
    """
    settings: ContextSettings = read_options(ContextSettings, options, "genes vectors")
    if minimum_cells < 1:
        raise ConfigError(f"minimum cells must be at least 1, not {minimum_cells}")
    reader = loaded(model)
    _token_ids(reader)
    with open_table(data, matrix=settings.matrix) as source:
        job = prepare(source, reader, settings, lambda name: open_table(data, matrix=name))
        titles, codes = _groups(source, group)
        rows, names = genes_of_file(source.gene_columns(), job.match.target)
        job = settled(job)
        sums = _Sums(reader, rows, len(titles), job.settings)
        with progress("reading genes", source.n_cells, show=settings.progress) as advance:
            for block in source.blocks(_CELLS):
                sums.add(reader.tokenize(block, job.match, seed=settings.seed), codes[block.numbers])
                advance(len(block))
    # A gene of few cells has a vector of few contexts, which looks like any outlier.
    kept = np.flatnonzero(sums.counts >= minimum_cells)
    if not len(kept):
        raise InputError(f"no gene is held by {minimum_cells} cells; lower the minimum or choose other cells")
    place, gene = np.divmod(kept, len(rows))
    metadata: dict[str, Any] = {
        "kind": "contextual",
        "model": reader.name,
        "checkpoint": job.facts,
        "biolm_version": biolm.__version__,
        "genes": job.match.report.as_dict(),
        "hidden_state": getattr(reader, "hidden_state", -1)
        if settings.hidden_state is None
        else settings.hidden_state,
        "seed": settings.seed,
        "group": group,
    }
    return GeneVectors(
        ids=np.array(reader.vocabulary.genes)[rows[gene]],
        names=names[gene],
        vectors=(sums.totals[kept] / sums.counts[kept, None]).astype(np.float32),
        provenance=plain(metadata),
        cells=sums.counts[kept],
        groups=None if group is None else titles[place],
    )


class _Sums:
    """Sums of hidden states by group and gene, ``(groups * genes, d)``.

    A gene that a cell holds several times counts once, with the mean of its states.
    """

    def __init__(
        self, model: CellModel, rows: NDArray[np.int64], groups: int, settings: CellSettings
    ) -> None:
        self._model, self._settings = model, settings
        token_ids = _token_ids(model)
        self._place = np.full(int(token_ids.max()) + 2, -1, np.int64)  # the last for all tokens behind genes
        self._place[token_ids[rows]] = np.arange(len(rows))
        self._genes = len(rows)
        self.counts = np.zeros(groups * len(rows), np.int64)
        # Of states: a system may join or project them to vectors of cells of another width.
        self.totals = np.zeros((len(self.counts), 0))

    def add(self, tokens: Tokens, codes: NDArray[np.int64]) -> None:
        """Add the cells of a block; ``codes`` are their groups, -1 for none."""
        import torch

        from biolm.models.running import pick_device

        device = pick_device(self._settings.device)
        options = EmbedOptions(hidden_state=self._settings.hidden_state, precision=self._settings.precision)
        filled = np.flatnonzero(tokens.lengths)
        for places in pack(tokens.take(filled), self._settings.batch_tokens):
            rows = filled[places]
            batch = Batch.from_tokens(tokens, rows)
            with torch.inference_mode():
                states = self._model.gene_states(batch.to(device), options).double().cpu()
            if not self.totals.shape[1]:
                self.totals = np.zeros((len(self.counts), states.shape[1]))
            gene = self._place[np.minimum(batch.ids.numpy(), len(self._place) - 1)]
            cell = np.repeat(np.arange(len(rows)), batch.lengths.numpy())
            group = codes[rows][cell]
            # Special tokens, and genes that the file lacks, have no row.
            used = np.flatnonzero((gene >= 0) & (group >= 0))
            pair = cell[used] * self._genes + gene[used]
            _, first, pairs, times = np.unique(
                pair, return_index=True, return_inverse=True, return_counts=True
            )
            key = group[used] * self._genes + gene[used]
            scaled = states[torch.from_numpy(used)] / torch.from_numpy(times[pairs])[:, None]
            torch.from_numpy(self.totals).index_add_(0, torch.from_numpy(key), scaled)
            self.counts += np.bincount(key[first], minlength=len(self.counts))


def _token_ids(model: CellModel) -> NDArray[np.int64]:
    """Token ``(m,)`` of each gene."""
    tokenizer = getattr(getattr(model, "preprocessor", None), "tokenizer", None)
    token_ids = getattr(tokenizer, "token_ids", None)
    if token_ids is None or type(model).gene_states is CellModel.gene_states:
        raise model.lacks("has no state of a gene in a cell")
    return np.asarray(token_ids, np.int64)


def check_output(target: Path, *, overwrite: bool) -> None:
    """Check, before any work, that vectors of genes may be written.

    Parameters
    ----------
    target
        The output.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    ConfigError, OutputError
        If the ending names no format, or the file exists.
    """
    if target.suffix.lower() == ".h5ad":
        refuse_existing(target, overwrite=overwrite)
    elif target.suffix.lower().removeprefix(".") in TABLES:
        check_table(target, overwrite=overwrite)
    else:
        raise ConfigError(f"{target} names no format for genes; use .h5ad, .parquet, .tsv or .csv")


def write_vectors(vectors: GeneVectors, target: Path, *, overwrite: bool = False) -> None:
    """Write an AnnData with genes as rows, or a table with a column an axis.

    Parameters
    ----------
    vectors
        Vectors of genes.
    target
        File.
    overwrite
        Whether it may be replaced.
    """
    check_output(target, overwrite=overwrite)
    if target.suffix.lower() == ".h5ad":
        with replacing(target, overwrite=overwrite) as temporary:
            write_anndata(vectors.to_anndata(), temporary)
        return
    table_format(target)
    axes = {f"v{axis}": vectors.vectors[:, axis] for axis in range(vectors.vectors.shape[1])}
    write_table(target, [vectors.columns() | axes], vectors.provenance, schema=SCHEMA, overwrite=overwrite)


def _table(model: CellModel) -> NDArray[np.float32]:
    """``(m, d)`` vectors that a model holds."""
    vectors = getattr(model, "vectors", None)
    if isinstance(vectors, np.ndarray) and len(vectors) == len(model.vocabulary):
        return vectors
    return model.gene_table()


def token_model_of(model: CellModel) -> TokenCellModel:
    """The model, if it reads genes as tokens.

    Raises
    ------
    ConfigError
        If it does not.
    """
    from biolm.models.token_model import TokenCellModel

    tokenizer = getattr(getattr(model, "preprocessor", None), "tokenizer", None)
    if not isinstance(model, TokenCellModel) or not hasattr(tokenizer, "token_ids"):
        raise ConfigError(
            f"model {model.name} reads no tokens of genes; use a token model such as geneformer or scgpt"
        )
    return model


def genes_of_file(
    columns: dict[str, NDArray[np.str_]], target: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Vocabulary rows of the genes of a file, ascending, and the file's names of them.

    Parameters
    ----------
    columns
        Of the file's genes.
    target
        ``(g,)`` rows of the vocabulary, -1 for none.
    """
    known = np.flatnonzero(target >= 0)
    rows, first = np.unique(target[known], return_index=True)
    shown = columns.get("index", next(iter(columns.values())))
    return rows.astype(np.int64), shown[known[first]]


def _groups(source: Any, group: str | None) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Names of the groups and the code of each cell, -1 where it has none."""
    if group is None:
        return np.array([""]), np.zeros(source.n_cells, np.int64)
    titles, codes = np.unique(label_column(source, group), return_inverse=True)
    missing = titles == ""
    code = np.where(missing, -1, np.cumsum(~missing) - 1)
    if missing.all():
        raise InputError(f"column '{group}' holds no group; choose another")
    return titles[~missing], code[codes].astype(np.int64)
