"""The genes of the data, and the tokeniser made of them: names from the files, medians from their cells.

Dimensions: ``n`` cells of a block · ``g`` gene columns of a file · ``m`` genes of the vocabulary · ``k``
classes of a histogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import check_counts
from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellBlock, open_cells
from biolm.models.cell_language import CellLanguage
from biolm.models.own import TOKENIZERS, read_vocabulary
from biolm.models.registry import load_tokenizer
from biolm.progress import progress, speaks
from biolm.settings import read_fields
from biolm.training.config import DataConfig, ModelConfig
from biolm.vocab.gene_names import ensembl_id, is_blank
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["SPECIAL", "Vocabulary", "language_of_data", "language_of_folder", "match_files", "with_settings"]

SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")

# Classes of 1.6 % width: a median read from them is nearer than the data can tell, in bounded memory.
_CLASSES, _LOWEST, _HIGHEST = 1024, 1e-2, 1e5
_STEP = np.log(_HIGHEST / _LOWEST) / _CLASSES


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A language and the ids of all its tokens.

    Parameters
    ----------
    language
        Genes and tokeniser; None where the tokens are given, and only a bare core reads them.
    tokens
        Token to id, special tokens in angle brackets included.
    """

    language: CellLanguage | None
    tokens: dict[str, int]

    @property
    def size(self) -> int:
        """Rows of the embedding."""
        return max(self.tokens.values()) + 1

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are never hidden or predicted."""
        return tuple(sorted(token for name, token in self.tokens.items() if name.startswith("<")))

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token, None where there is none."""
        return self.tokens.get("<mask>")


def language_of_folder(folder: str, settings: Mapping[str, Any] | None = None) -> Vocabulary:
    """The genes and tokeniser of a saved model, with other settings of the tokeniser where they are given.

    Raises
    ------
    CheckpointError, ConfigError
        If the folder holds none.
    """
    language = load_tokenizer(folder)
    if not isinstance(language, CellLanguage):
        raise ConfigError(f"{folder} has no tokeniser of cells; give the folder of a model that reads tokens")
    changed = with_settings(language, settings or {})
    return Vocabulary(changed, read_vocabulary(Path(folder).expanduser()))


def with_settings(language: CellLanguage, settings: Mapping[str, Any]) -> CellLanguage:
    """A language whose tokeniser has other settings.

    Raises
    ------
    ConfigError
        If a setting is unknown, impossible, or is one of the vocabulary.
    """
    if not settings:
        return language
    tokenizer: Any = language.tokenizer
    return replace(language, tokenizer=replace(tokenizer, **_read(type(tokenizer), settings)))


def _read(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a tokeniser; what belongs to the vocabulary is none."""
    return read_fields(kind, settings, "model.tokenizer", hidden=("token_ids", "medians"))


def language_of_data(files: list[Path], data: DataConfig, model: ModelConfig, name: str) -> Vocabulary:
    """Genes that some cell expresses, and the tokeniser of ``model.adapter`` over them.

    Genes are named by the first file's kind of name (Ensembl ids where it has them) and sorted, so that the
    order of files does not matter.

    Raises
    ------
    InputError, GeneMatchError
        If a file cannot be read, holds no counts, or shares too few genes with the others.
    ConfigError
        If a setting of the tokeniser is unknown or out of range.
    """
    named = GeneVocabulary.of(_gene_names(files, data))
    matches = match_files(files, named, data)
    medians = _medians(_blocks(files, data, matches), len(named))
    kept = np.flatnonzero(medians > 0)
    if not len(kept):
        raise InputError("the data hold no expressed gene; check the matrix that is read")
    genes = [named.genes[row] for row in kept]
    tokens = {token: number for number, token in enumerate((*SPECIAL, *genes))}
    kind = TOKENIZERS[model.adapter]
    given = {"cls_id": tokens["<cls>"], "max_length": model.max_length, **_read(kind, model.tokenizer)}
    given["token_ids"] = np.arange(len(SPECIAL), len(tokens), dtype=np.int32)
    if model.adapter == "rank":
        given["medians"] = medians[kept]
    if model.adapter == "bins":
        # Bins are rows of an embedding: scGPT's -2 for the cls token would lie outside.
        given.setdefault("cls_value", 0)
    language = CellLanguage(
        name=name,
        vocabulary=GeneVocabulary(tuple(genes), named.kind, named.species),
        tokenizer=kind(**given),
        special=(int(given["cls_id"] is not None), int(given.get("eos_id") is not None)),
        wants_counts=not data.allow_normalised,
    )
    return Vocabulary(language, tokens)


def match_files(files: list[Path], vocabulary: GeneVocabulary, data: DataConfig) -> list[GeneMatch]:
    """Where each file's genes go; the numbers of each are looked at as well.

    Raises
    ------
    InputError, GeneMatchError
        If a file does not fit.
    """
    matches = []
    for path in files:
        with open_cells(path, matrix=data.layer) as source:
            matches.append(
                vocabulary.match(source.gene_columns(), column=data.gene_column, minimum=data.minimum_match)
            )
            check_counts(source, allow_normalised=data.allow_normalised)
    return matches


def _gene_names(files: list[Path], data: DataConfig) -> list[str]:
    """Sorted names of all files' genes."""
    names: set[str] = set()
    by_id: bool | None = None
    for path in files:
        with open_cells(path, matrix=data.layer) as source:
            columns = {key: column.tolist() for key, column in source.gene_columns().items()}
        if data.gene_column is not None and data.gene_column not in columns:
            raise InputError(f"{path} has no gene column {data.gene_column!r}; it has {', '.join(columns)}")
        chosen = _id_column(columns) if data.gene_column is None else data.gene_column
        ids = [ensembl_id(name) for name in columns[chosen]]
        mostly = 2 * sum(found is not None for found in ids) > len(ids)
        by_id = mostly if by_id is None else by_id
        # A file with the other kind of names is matched to these, it adds none.
        if by_id == mostly:
            found = ids if by_id else [None if is_blank(name) else name for name in columns[chosen]]
            names.update(name for name in found if name)
    return sorted(names)


def _id_column(columns: dict[str, list[str]]) -> str:
    """The column with most Ensembl ids; the index where none has any."""
    counts = {key: sum(ensembl_id(name) is not None for name in names) for key, names in columns.items()}
    best = max(counts, key=lambda key: counts[key])
    return best if counts[best] else "index"


def _blocks(
    files: list[Path], data: DataConfig, matches: list[GeneMatch]
) -> Iterator[tuple[CellBlock, GeneMatch]]:
    total = 0
    for path in files:
        with open_cells(path, matrix=data.layer) as source:
            total += source.n_cells
    with progress("looking at the genes", total, show=speaks()) as advance:
        for path, match in zip(files, matches, strict=True):
            with open_cells(path, matrix=data.layer) as source:
                for block in source.blocks():
                    yield block, match
                    advance(len(block))


def _medians(blocks: Iterator[tuple[CellBlock, GeneMatch]], n_genes: int) -> NDArray[np.float64]:
    """``(m,)`` median of each gene's counts per 10,000 over the cells that express it; 0 where none does.

    As Geneformer takes them (Theodoris et al. 2023). They are read from a histogram of logarithms, so that
    one pass in bounded memory is enough and the order of cells does not matter.
    """
    histogram = np.zeros(n_genes * _CLASSES, np.int64)  # (m * k,)
    for block, match in blocks:
        row = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        values = block.data.astype(np.float64)
        totals = np.bincount(row, values, minlength=len(block))
        gene = match.target[block.indices].astype(np.int64)
        keep = (gene >= 0) & (values > 0)
        share = 1e4 * values[keep] / totals[row[keep]]
        place = ((np.log(share) - np.log(_LOWEST)) / _STEP).astype(np.int64).clip(0, _CLASSES - 1)
        histogram += np.bincount(gene[keep] * _CLASSES + place, minlength=len(histogram))
    counts = histogram.reshape(n_genes, _CLASSES)
    totals_of_genes = counts.sum(1)
    middle = (counts.cumsum(1) * 2 >= totals_of_genes[:, None]).argmax(1)
    medians = _LOWEST * np.exp((middle + 0.5) * _STEP)
    return np.where(totals_of_genes > 0, medians, 0.0)
