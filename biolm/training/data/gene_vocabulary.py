"""The genes of the data, and the tokeniser made of them: names from the files, medians from their cells.

Dimensions: ``n`` cells of a block · ``g`` gene columns of a file · ``m`` genes of the vocabulary · ``k``
classes of a histogram.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells import check_counts
from biolm.errors import ConfigError, InputError
from biolm.io.cells import CellBlock
from biolm.io.provenance import digest
from biolm.models.native import TOKENIZERS
from biolm.models.preprocessor import CellPreprocessor
from biolm.progress import log, progress, speaks
from biolm.training.config import DataConfig, ModelConfig
from biolm.training.data.cell_files import CellFiles, naming_file
from biolm.training.data.vocabulary import Vocabulary, tokenizer_settings
from biolm.vocab.gene_names import ensembl_id
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.union import GeneUnion, naming_column

__all__ = ["SPECIAL", "match_files", "vocabulary_of_data"]

SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")

# Classes of 1.6 % width: a median read from them is nearer than the data can tell, in bounded memory.
_CLASSES, _LOWEST, _HIGHEST = 1024, 1e-2, 1e5
_STEP = np.log(_HIGHEST / _LOWEST) / _CLASSES
_SLICE = 2048  # genes whose histograms are added up at a time


def vocabulary_of_data(files: CellFiles, data: DataConfig, model: ModelConfig, name: str) -> Vocabulary:
    """Genes that some cell expresses, and the tokeniser of ``model.adapter`` over them.

    Genes are named by the first file's kind of name (Ensembl ids where it has them) and sorted, so that the
    order of files does not matter.

    Parameters
    ----------
    files
        The cells.
    data, model
        Sections of the config.
    name
        Names the saved model.

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
    blocks = _blocks(files, match_files(files, named, data))
    # Bins and values need no medians, which take a histogram of each gene.
    medians = _medians(blocks, len(named)) if model.adapter == "rank" else _expressed(blocks, len(named))
    kept = np.flatnonzero(medians > 0)
    if not len(kept):
        raise InputError("the data hold no expressed gene; check the matrix that is read")
    genes = [named.genes[row] for row in kept]
    tokens = {token: number for number, token in enumerate((*SPECIAL, *genes))}
    kind = TOKENIZERS[model.adapter]
    given: dict[str, Any] = {"cls_id": tokens["<cls>"], "max_length": model.max_length}
    given |= tokenizer_settings(kind, model.tokenizer)
    given["token_ids"] = np.arange(len(SPECIAL), len(tokens), dtype=np.int32)
    if model.adapter == "rank":
        given["medians"] = medians[kept]
    if model.adapter == "bins":
        # Bins are rows of an embedding: scGPT's -2 for the cls token would lie outside.
        given.setdefault("cls_value", 0)
    preprocessor = CellPreprocessor(
        name=name,
        vocabulary=GeneVocabulary(tuple(genes), named.kind, named.species),
        tokenizer=kind(**given),
        special=(int(given["cls_id"] is not None), int(given.get("eos_id") is not None)),
        wants_counts=not data.allow_normalised,
    )
    return Vocabulary.of_genes(preprocessor, tokens)


def match_files(files: CellFiles, vocabulary: GeneVocabulary, data: DataConfig) -> list[GeneMatch]:
    """Where each file's genes go; the numbers of each are looked at as well.

    Parameters
    ----------
    files
        The cells.
    vocabulary
        Genes of the run.
    data
        How genes are named, and whether values must be counts.

    Raises
    ------
    InputError, GeneMatchError
        If a file does not fit.
    """
    matches = []
    for path, source in files.each():
        with naming_file(path):
            match = vocabulary.match(
                source.gene_columns(),
                column=data.gene_column,
                minimum=data.minimum_match,
                species=data.species,
            )
            # What is looked at first says more than the watch over later blocks does.
            source.watch(None)
            check_counts(source, allow_normalised=data.allow_normalised)
        for note in source.notes:
            log.warning("%s", note)
        matches.append(match)
    return matches


def _gene_names(files: CellFiles, data: DataConfig) -> list[str]:
    """Sorted names of all files' genes: Ensembl ids where any file has them and a gene has one."""
    tables = [source.gene_columns() for _, source in files.each()]
    union = GeneUnion(column=data.gene_column, minimum=data.minimum_match, species=data.species)
    # Those that name most genes by id come first, and then by their names, so that the order of files does
    # not matter.
    for number in sorted(range(len(files)), key=lambda number: _place(tables[number], data.gene_column)):
        with naming_file(files.paths[number]):
            union.add(tables[number])
    return sorted(union.names())


def _place(columns: dict[str, NDArray[np.str_]], chosen: str | None) -> tuple[float, str]:
    """Fraction of the genes that are not named by id, and a hash of all names."""
    names = columns[chosen if chosen in columns else naming_column(columns)].tolist()
    ids = sum(ensembl_id(name) is not None for name in names)
    return -ids / max(len(names), 1), digest({"genes": sorted(names)})


def _blocks(files: CellFiles, matches: list[GeneMatch]) -> Iterator[tuple[CellBlock, GeneMatch]]:
    total = sum(source.n_cells for _, source in files.each())
    with progress("looking at the genes", total, show=speaks()) as advance:
        for (path, source), match in zip(files.each(), matches, strict=True):
            with naming_file(path):
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
        per_10k = 1e4 * values[keep] / totals[row[keep]]
        place = ((np.log(per_10k) - np.log(_LOWEST)) / _STEP).astype(np.int64).clip(0, _CLASSES - 1)
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
    expressed = np.zeros(n_genes)
    for block, match in blocks:
        genes = match.target[block.indices[block.data > 0]]
        expressed[genes[genes >= 0]] = 1
    return expressed
