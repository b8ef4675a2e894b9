"""The genes of the data, and the tokeniser made of them: names from the files, medians from their cells.

Dimensions: ``n`` cells of a block · ``g`` gene columns of a file · ``m`` genes of the vocabulary · ``k``
classes of a histogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import check_counts
from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellBlock, open_cells
from biolm.io.provenance import digest
from biolm.models.language import CellLanguage
from biolm.models.native import TOKENIZERS, read_vocabulary
from biolm.models.registry import load_tokenizer
from biolm.options import spelled
from biolm.progress import log, progress, speaks
from biolm.settings import read_fields
from biolm.training.config import DataConfig, ModelConfig
from biolm.vocab.gene_names import ensembl_id
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.union import GeneUnion, naming_column

__all__ = [
    "SPECIAL",
    "Vocabulary",
    "in_settings",
    "language_of_data",
    "language_of_folder",
    "match_files",
    "naming_file",
    "with_settings",
]

SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")

# Classes of 1.6 % width: a median read from them is nearer than the data can tell, in bounded memory.
_CLASSES, _LOWEST, _HIGHEST = 1024, 1e-2, 1e5
_STEP = np.log(_HIGHEST / _LOWEST) / _CLASSES
_SLICE = 2048  # genes whose histograms are added up at a time

# Other commands' options, as the settings of a run.
_HERE = {
    "pass species=": "set data.species: ",
    "known to the model": "known",
}


def in_settings(name: str, value: str | None) -> str:
    """An option in a message, as the settings of a run write it."""
    return f"data.{name}" if value is None else f"data.{name}: {value.lower() if value == 'True' else value}"


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
    if model.adapter not in TOKENIZERS:
        raise ConfigError(
            f"data.paths names cells, which model.adapter {model.adapter!r} does not read; use one of "
            f"{', '.join(TOKENIZERS)}"
        )
    named = GeneVocabulary.of(_gene_names(files, data))
    matches = match_files(files, named, data)
    blocks = _blocks(files, data, matches)
    # Bins and values need no medians, which take a histogram of each gene.
    medians = _medians(blocks, len(named)) if model.adapter == "rank" else _expressed(blocks, len(named))
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
        with open_cells(path, matrix=data.layer) as source, naming_file(path):
            match = vocabulary.match(
                source.gene_columns(),
                column=data.gene_column,
                minimum=data.minimum_match,
                species=data.species,
            )
            check_counts(source, allow_normalised=data.allow_normalised)
            for note in source.notes:
                log.warning("%s", note)
        matches.append(match)
    return matches


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Let an error in the content of a file say which it is, and what to set here.

    Raises
    ------
    InputError
        In place of one that was raised inside; a :class:`~biolm.errors.GeneMatchError` stays one.
    """
    try:
        yield
    except InputError as error:
        text = spelled(str(error), in_settings)
        for word, here in _HERE.items():
            text = text.replace(word, here)
        raise type(error)(text if str(path) in text else f"{path}: {text}") from error


def _gene_names(files: list[Path], data: DataConfig) -> list[str]:
    """Sorted names of all files' genes: Ensembl ids where any file has them and a gene has one."""
    tables = []
    for path in files:
        with open_cells(path, matrix=data.layer) as source:
            tables.append(source.gene_columns())
    union = GeneUnion(column=data.gene_column, minimum=data.minimum_match, species=data.species)
    # Those that name most genes by id come first, and then by their names, so that the order of files does
    # not matter.
    for number in sorted(range(len(files)), key=lambda number: _place(tables[number], data.gene_column)):
        with naming_file(files[number]):
            union.add(tables[number])
    return sorted(union.names())


def _place(columns: dict[str, NDArray[np.str_]], chosen: str | None) -> tuple[float, str]:
    """Share of the genes that are not named by id, and a hash of all names."""
    names = columns[chosen if chosen in columns else naming_column(columns)].tolist()
    ids = sum(ensembl_id(name) is not None for name in names)
    return -ids / max(len(names), 1), digest({"genes": sorted(names)})


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
    histogram = np.zeros(n_genes * _CLASSES, np.int32)  # (m * k,)
    for block, match in blocks:
        row = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        values = block.data.astype(np.float64)
        totals = np.bincount(row, values, minlength=len(block))
        gene = match.target[block.indices].astype(np.int64)
        keep = (gene >= 0) & (values > 0)
        share = 1e4 * values[keep] / totals[row[keep]]
        place = ((np.log(share) - np.log(_LOWEST)) / _STEP).astype(np.int64).clip(0, _CLASSES - 1)
        np.add.at(histogram, gene[keep] * _CLASSES + place, 1)
    counts = histogram.reshape(n_genes, _CLASSES)
    medians = np.zeros(n_genes)
    for start in range(0, n_genes, _SLICE):
        some = counts[start : start + _SLICE].astype(np.int64)
        middle = (some.cumsum(1) * 2 >= some.sum(1, keepdims=True)).argmax(1)
        expressed = some.any(1)
        medians[start : start + _SLICE] = expressed * _LOWEST * np.exp((middle + 0.5) * _STEP)
    return medians


def _expressed(blocks: Iterator[tuple[CellBlock, GeneMatch]], n_genes: int) -> NDArray[np.float64]:
    """``(m,)`` above 0 for each gene that some cell expresses."""
    found = np.zeros(n_genes)
    for block, match in blocks:
        genes = match.target[block.indices[block.data > 0]]
        found[genes[genes >= 0]] = 1
    return found
