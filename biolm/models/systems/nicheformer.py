"""Nicheformer (Tejada-Lapuerta et al. 2025): genes ranked by expression over the mean of their technology.

A folder holds ``nicheformer.ckpt`` and, from ``data/model_means`` of the published code, ``model.h5ad`` (or
``genes.txt``) with the genes in order and ``TECHNOLOGY_mean_script.npy``. Three tokens come before the genes:
species, assay and modality of the cell, read from the cell table or given for all cells.

Two published behaviours are kept by default. A cell's vector is the mean over all positions of the context
length, unused ones included (``pool="mean"`` leaves them out). A gene that the technology has no mean for
becomes a token in every cell, behind the measured ones (``unmeasured="drop"`` leaves it out).

Dimensions: ``b`` cells · ``m`` genes · ``s`` context length · ``d`` width.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.errors import CheckpointError, InputError
from biolm.io.cells import CellSource
from biolm.io.cells.block import CellBlock
from biolm.models.context import ContextColumn
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import choose, gene_list
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["CONTEXT", "TechnologyRanks", "load", "load_tokenizer", "recognises"]

WEIGHTS = "nicheformer.ckpt"
PAD, FIRST_GENE = 1, 30
CONTEXT: dict[str, dict[str, int]] = {
    "specie": {"human": 5, "Homo sapiens": 5, "mouse": 6, "Mus musculus": 6},
    "assay": {
        "merfish": 7,
        "cosmx": 8,
        "NanoString digital spatial profiling": 8,
        "xenium": 9,
        "visium": 9,
        "10x 5' v2": 10,
        "10x 3' v3": 11,
        "10x 3' v2": 12,
        "10x 5' v1": 13,
        "10x 3' v1": 14,
        "10x 3' transcription profiling": 15,
        "10x transcription profiling": 15,
        "10x 5' transcription profiling": 16,
        "CITE-seq": 17,
        "Smart-seq v4": 18,
    },
    "modality": {"dissociated": 3, "spatial": 4},
}
TECHNOLOGIES = ("dissociated", "merfish", "cosmx", "xenium", "iss")
_OF_ASSAY = {7: "merfish", 8: "cosmx", 9: "xenium"}


class TechnologyRanks:
    """Context tokens, then expressed genes by falling value over the mean of the cell's technology.

    Parameters
    ----------
    token_ids
        ``(m,)`` token of each gene.
    means
        Technology to ``(m,)`` mean of each gene where expressed; NaN where it is not measured.
    columns
        Species, assay and modality.
    max_length
        ``s``, context tokens included.
    technology
        Of all cells; None to tell it by the assay.
    unmeasured
        ``keep`` or ``drop`` genes without a mean.
    """

    def __init__(
        self,
        token_ids: NDArray[np.int32],
        means: dict[str, NDArray[np.float64]],
        columns: list[ContextColumn],
        *,
        max_length: int,
        technology: str | None,
        unmeasured: str,
    ) -> None:
        self.token_ids, self.means, self.columns = token_ids, means, columns
        self.max_length, self.technology, self.unmeasured = max_length, technology, unmeasured
        self.context: NDArray[np.int32] | None = None

    def read_context(self, source: CellSource) -> None:
        """Take the context tokens of every cell of a file.

        Raises
        ------
        InputError
            If a column is missing or holds an unknown value, or a technology has no means here.
        """
        self.context = np.stack([column.read(source) for column in self.columns], 1)
        # Now rather than in the middle of a file: a missing table must not cost the rows before it.
        for assay in np.unique(self.context[:, 1]).tolist():
            self._mean(assay)

    def _mean(self, assay: int) -> NDArray[np.float64]:
        name = self.technology or _OF_ASSAY.get(assay, "dissociated")
        if name not in self.means:
            raise InputError(
                f"the folder holds no {name}_mean_script.npy, the means of that technology; copy it from "
                "data/model_means of the Nicheformer repository"
            )
        return self.means[name]

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Tokens of the cells of a block.

        Raises
        ------
        InputError
            If the context of the cells was not read, or a value is negative, infinite or not a number.
        """
        if self.context is None:
            raise InputError("Nicheformer needs species, assay and modality of the cells; call read_context")
        rows = prepare(block, match)
        known = match.target >= 0
        cells = []
        for place, row in enumerate(block.numbers):
            span = slice(rows.indptr[place], rows.indptr[place + 1])
            kept = known[rows.indices[span]] & (rows.data[span] > 0)
            genes = match.target[rows.indices[span][kept]]
            order = np.argsort(genes)  # of the model: equal values keep it
            genes, counts = genes[order], rows.data[span][kept][order].astype(np.float32)
            mean = self._mean(int(self.context[row, 1]))
            # In float32 as published: what ties there must tie here, or ranks differ.
            scale = np.float32(1e4) / max(counts.sum(dtype=np.float32), np.float32(1e-30))
            values = (counts * np.float32(scale)) / np.where(mean == 0, 1, mean)[genes]
            measured = ~np.isnan(values)
            ranked = genes[measured][np.argsort(-values[measured], kind="stable")]
            tail = np.flatnonzero(np.isnan(mean)) if self.unmeasured == "keep" else genes[:0]
            tokens = self.token_ids[np.concatenate([ranked, tail])]
            cells.append(np.concatenate([self.context[row], tokens])[: self.max_length])
        return Tokens.joined(cells, block.numbers)


def recognises(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of Nicheformer."""
    return (folder / WEIGHTS).is_file()


def load_tokenizer(
    folder: Path,
    *,
    specie: str | None = None,
    assay: str | None = None,
    modality: str | None = None,
    technology: str | None = None,
    unmeasured: str = "keep",
    context_length: int = 1500,
) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    specie, assay, modality
        Of all cells; by default the columns of these names in ``obs``.
    technology
        Whose means are divided by: ``dissociated``, ``merfish``, ``cosmx``, ``xenium`` or ``iss``; by default
        that of the assay.
    unmeasured
        ``keep`` (published) or ``drop`` genes that the technology has no mean for.
    context_length
        Most tokens of a cell; :func:`load` takes it from the checkpoint.

    Raises
    ------
    CheckpointError
        If the order of the genes or all means are missing, or do not fit each other.
    ConfigError
        For an option that is not known.
    """
    if technology is not None:
        choose("technology", technology, TECHNOLOGIES)
    choose("unmeasured", unmeasured, ("keep", "drop"))
    given = {"specie": specie, "assay": assay, "modality": modality}
    columns = [
        ContextColumn(system="Nicheformer", name=name, tokens=tokens, given=given[name])
        for name, tokens in CONTEXT.items()
    ]
    source = "data/model_means of the Nicheformer repository"
    genes, path = gene_list(folder, ("model.h5ad",), source=source)
    means, files = {}, [path]
    for name in TECHNOLOGIES:
        if (file := folder / f"{name}_mean_script.npy").is_file():
            means[name] = np.load(file, allow_pickle=False).astype(np.float64).ravel()
            files.append(file)
            if len(means[name]) != len(genes):
                raise CheckpointError(
                    f"{file} holds {len(means[name])} means but {path} {len(genes)} genes; take both from "
                    "one release"
                )
    if not means:
        raise CheckpointError(
            f"{folder} holds no TECHNOLOGY_mean_script.npy; copy them from data/model_means of the "
            "Nicheformer repository"
        )
    ensembl = all(gene.startswith("ENS") for gene in genes)
    # Symbols of the two species look alike; only ids can be of both.
    species = ("human", "mouse") if ensembl else ("human",)
    tokenizer = TechnologyRanks(
        np.arange(len(genes), dtype=np.int32) + FIRST_GENE,
        means,
        columns,
        max_length=int(context_length),
        technology=technology,
        unmeasured=unmeasured,
    )
    return CellPreprocessor(
        name="nicheformer",
        vocabulary=GeneVocabulary.of(genes, kind="ensembl" if ensembl else "symbol", species=species),
        tokenizer=tokenizer,
        special=(3, 0),
        files=tuple(files),
        published=PublishedRule(system="Nicheformer", column="index"),
    )


def load(
    folder: Path,
    *,
    specie: str | None = None,
    assay: str | None = None,
    modality: str | None = None,
    technology: str | None = None,
    unmeasured: str = "keep",
) -> TokenCellModel:
    """Load a Nicheformer folder, strictly; options as of :func:`load_tokenizer`.

    Parameters
    ----------
    folder
        Of the checkpoint.
    specie, assay, modality, technology, unmeasured
        As of :func:`load_tokenizer`.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    ConfigError
        For an option that is not known.
    """
    from biolm.models.systems.nicheformer_model import load_model

    given = {"specie": specie, "assay": assay, "modality": modality, "technology": technology}
    context = {name: value for name, value in given.items() if value is not None}
    return load_model(folder, {**context, "unmeasured": unmeasured})
