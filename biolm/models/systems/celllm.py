"""CellLM (Zhao et al. 2023): expressed genes with their expression in bins, read by a Performer.

A folder holds ``checkpoint*.pth`` and ``genes.txt``, the genes in order; ``config.json`` may tell the
longest sequence. A token is the gene2vec vector of a gene plus the bin ``floor(log2(1 + 10,000 x / total))``,
at most 5; a cls token comes first and gives the cell's vector.

Published padding is seen: its values are zero, but its keys count, so a vector depends on ``max_seq_len``.
That is kept, with one token that counts for all padding, and ``padding="none"`` leaves it out. Attention
depends on the cell alone, unless ``stabiliser="batch"`` as published.

Dimensions: ``b`` cells · ``m`` genes · ``t`` tokens · ``d`` width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.models.preprocessor import CellPreprocessor, find_file
from biolm.models.systems.cell_folders import choose, gene_list
from biolm.models.systems.performer_stack import aligned, binned_core, value_bin
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.systems.celllm_model import Celllm

__all__ = ["ExpressedBins", "load", "load_tokenizer", "recognises"]

CLS, PAD = 6, 7
LONGEST = 6000


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpressedBins:
    """A cls token, the expressed genes in order with their bins, and one token for all padding.

    Parameters
    ----------
    token_ids
        ``(m,)``: the genes' own numbers; ``m`` is cls and ``m + 1`` padding.
    max_length
        Most tokens of a cell, cls included; padding fills up to it.
    padded
        Whether padding is there.
    """

    token_ids: NDArray[np.int32]
    max_length: int
    padded: bool

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Tokens of the cells of a block; segments count what a padding token stands for.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        count = len(self.token_ids)
        ids, values, segments = [], [], []
        for genes, amounts in aligned(block, match, whole=True):
            # In the order of the vocabulary and not of expression, as published: the last genes are cut.
            own = genes[: self.max_length - 1]
            missing = self.max_length - 1 - len(own) if self.padded else 0
            # Keys of padding are all alike, so one token stands for them and says how many there are.
            tail = [count + 1] * (missing > 0)
            ids.append(np.concatenate([[count], own, tail]))
            values.append(np.concatenate([[CLS], value_bin(amounts)[: len(own)], [PAD] * len(tail)]))
            segments.append(np.concatenate([np.zeros(1 + len(own)), [missing] * len(tail)]))
        return Tokens.joined(ids, block.numbers, values=values, segments=segments, value_type=np.int32)


def weights_of(folder: Path) -> Path | None:
    """The checkpoint of a folder; None where there is none."""
    return find_file([folder], lambda name: name.startswith("checkpoint") and name.endswith(".pth"))


def recognises(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of CellLM."""
    return weights_of(folder) is not None


def load_tokenizer(
    folder: Path, *, padding: str = "published", max_seq_len: int | None = None
) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    padding
        ``published`` counts padded keys; ``none`` has no padding.
    max_seq_len
        Most tokens of a cell; by default what ``config.json`` says, else 6,000.

    Raises
    ------
    CheckpointError
        If the list of genes is missing.
    ConfigError
        If an option is not one of those above.
    """
    choose("padding", padding, ("published", "none"))
    genes, path = gene_list(folder, source="OpenBioMed, in the order of its gene2vec table")
    stored = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    longest = int(
        stored.get("max_seq_len", stored.get("maxlen", LONGEST)) if max_seq_len is None else max_seq_len
    )
    if longest < 2:
        raise ConfigError(f"max_seq_len must be at least 2, not {longest}")
    return CellPreprocessor(
        name="celllm",
        vocabulary=GeneVocabulary.of(genes, kind="symbol", species=("human",)),
        tokenizer=ExpressedBins(
            token_ids=np.arange(len(genes), dtype=np.int32), max_length=longest, padded=padding == "published"
        ),
        special=(1, 0),
        files=(path,),
        published=PublishedRule(system="CellLM", column="index"),
    )


def load(
    folder: Path, *, padding: str = "published", max_seq_len: int | None = None, stabiliser: str = "document"
) -> Celllm:
    """Load a CellLM folder, strictly.

    Parameters
    ----------
    folder, padding, max_seq_len
        As of :func:`load_tokenizer`.
    stabiliser
        Whose largest key feature steadies the attention: of the ``document``, a cell, or of the ``batch``, as
        published, by which a cell depends on those it is run with.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    ConfigError
        For an option that is not known.
    """
    from biolm.models.systems.celllm_model import Celllm

    choose("stabiliser", stabiliser, ("document", "batch"))
    preprocessor = load_tokenizer(folder, padding=padding, max_seq_len=max_seq_len)
    path = weights_of(folder)
    if path is None:
        raise CheckpointError(f"{folder} holds no checkpoint*.pth; give the folder of a CellLM checkpoint")
    core, head = binned_core(path, preprocessor, special=2, mixer={"stabiliser": stabiliser, "counted": True})
    longest = preprocessor.tokenizer.max_length  # type: ignore[attr-defined]  # ExpressedBins
    options = {"padding": padding, "max_seq_len": longest, "stabiliser": stabiliser}
    return Celllm(preprocessor, core, head, [path], options)
