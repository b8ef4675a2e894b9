"""scPRINT (Kalfon et al. 2025): genes as protein vectors with counts, beside tokens of the cell's classes.

A checkpoint is one Lightning file, such as ``medium.ckpt``, whose hyper-parameters name genes and classes. A
cell is a token for its state, one for each class (cell type, sex ...), one for its depth, and 2,000 genes in
any order: expressed ones, and drawn unexpressed ones where it has fewer. A cell's vector is the mean state of
some of the classes. Decoders are not read.

Dimensions: ``m`` genes of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.draws import cell_seeds, uniform
from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import choose
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.systems.scprint_model import Scprint

__all__ = ["GenesAndClasses", "load", "load_tokenizer", "recognises"]

_SIZES = ("small", "medium", "large", "v2-medium")
_LONGEST = 2000  # genes that the published command reads
# Later releases have further kinds of model; of these the fields must be as here, or absent.
_READ: Mapping[str, tuple[Any, ...]] = {
    "expr_emb_style": ("continuous",),
    "expr_encoder_layers": (2,),
    "cell_emb_style": ("cls",),
    "attn_bias": ("none",),
    "prenorm": (True,),
    "depth_atinput": (True,),
    "cell_specific_blocks": (False,),
    "use_metacell_token": (False,),
    "compress_class_dim": (None, {}),
    "attn_type": ("normal", "flash"),
    "normalization": ("sum", "log"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GenesAndClasses:
    """Tokens of the classes, one of depth, then expressed genes and drawn unexpressed ones.

    Parameters
    ----------
    token_ids
        ``(m,)``: the genes' own numbers; behind them stand the classes and depth.
    organism
        ``(m,)`` number of the organism of each gene: unexpressed genes are drawn among those of the file's.
    labels
        Tokens of classes, the one of the cell's state included.
    share
        Whether a gene's value is its part of the counts of the genes read, and not ``log2(1 + count)``.
    genes
        Most genes of a cell.
    keep
        A ``sample`` of more expressed genes, by seed, row number and gene, or the ``highest``.
    unexpressed
        ``drawn`` to fill up to ``genes``, or ``none``.
    """

    token_ids: NDArray[np.int32]
    organism: NDArray[np.int64]
    labels: int
    share: bool
    genes: int
    keep: str
    unexpressed: str

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Tokens of the cells of a block, with float32 values.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        rows = prepare(block, match)
        low, high = cell_seeds(block.numbers, seed, 0)
        known = self.organism[match.target[match.target >= 0]]
        pool = self.organism == (np.bincount(known).argmax() if len(known) else 0)
        first = len(self.token_ids) + np.arange(self.labels + 1)
        ids, values = [], []
        for cell in range(len(block)):
            span = slice(int(rows.indptr[cell]), int(rows.indptr[cell + 1]))
            own, amounts = match.target[rows.indices[span]], rows.data[span].astype(np.float64)
            kept = (own >= 0) & (amounts > 0)
            own, amounts = self._read(own[kept], amounts[kept], pool, (low[cell], high[cell]))
            part = amounts / (amounts.sum() or 1.0) if self.share else np.log2(1 + amounts)
            ids.append(np.concatenate([first, own]))
            values.append(np.concatenate([np.zeros(self.labels), [np.log2(1 + rows.totals[cell])], part]))
        tokens = np.concatenate([first[:0], *ids]).astype(np.int32)
        counted = np.concatenate([np.zeros(0), *values]).astype(np.float32)
        offsets = np.cumsum([0, *map(len, ids)])
        return Tokens(ids=tokens, offsets=offsets, index=block.numbers, values=counted)

    def _read(
        self, own: NDArray[Any], amounts: NDArray[np.float64], pool: NDArray[np.bool_], seeds: Any
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Genes of one cell that are read, and their counts."""
        spare = self.genes - len(own)
        if spare < 0:
            height = -amounts if self.keep == "highest" else uniform(seeds, own.astype(np.int32))
            chosen = np.lexsort((own, height))[: self.genes]
            return own[chosen], amounts[chosen]
        if self.unexpressed == "none" or not spare:
            return own, amounts
        rest = np.flatnonzero(pool & ~np.isin(np.arange(len(pool)), own))
        height = uniform(seeds, rest.astype(np.int32))
        last = np.partition(height, spare - 1)[spare - 1] if spare < len(rest) else 1.0
        chosen = rest[height <= last][:spare]
        return np.concatenate([own, chosen]), np.concatenate([amounts, np.zeros(len(chosen))])


def recognises(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of scPRINT under a published name."""
    return any((folder / f"{size}.ckpt").is_file() for size in _SIZES)


def _stored(folder: Path, size: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """File, hyper-parameters and weights; the weights are left on disk until they are used."""
    there = [name for name in _SIZES if (folder / f"{name}.ckpt").is_file()]
    if not there:
        raise CheckpointError(f"{folder} holds no {_SIZES[1]}.ckpt; fetch one from jkobject/scPRINT")
    if not size and len(there) > 1:
        raise ConfigError(f"{folder} holds {', '.join(there)}: say which, as in 'FOLDER?size={there[0]}'")
    from biolm.core.checkpoint import read_torch

    choose("size", size or there[0], tuple(there))
    path = folder / f"{size or there[0]}.ckpt"
    stored = read_torch(path, mapped=True)
    names = ("hyper_parameters", "state_dict")
    parts = [part for name in names if isinstance(part := stored.get(name), dict)]
    if len(parts) < 2 or not {"genes", "classes"} <= parts[0].keys():
        raise CheckpointError(f"{path} lacks genes or classes among its hyper_parameters; fetch it again")
    settings, tensors = parts
    for name, allowed in _READ.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise ConfigError(f"scPRINT with {name} {settings[name]!r} is not read, only with {allowed[0]!r}")
    return path, settings, tensors


def load_tokenizer(
    folder: Path,
    *,
    size: str = "",
    genes: int | str = _LONGEST,
    keep: str = "sample",
    unexpressed: str = "drawn",
) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the genes are named by the file of weights.

    Parameters
    ----------
    folder
        Of a checkpoint.
    size, genes, keep, unexpressed
        As of :func:`load`.

    Raises
    ------
    CheckpointError, ConfigError
        If the file is missing, unsafe or of a kind that is not read, or an option is not known.
    """
    return _preprocessor(_stored(folder, size)[1], genes, keep, unexpressed)


def _preprocessor(
    settings: Mapping[str, Any], genes: int | str, keep: str, unexpressed: str
) -> CellPreprocessor:
    choose("keep", keep, ("sample", "highest"))
    choose("unexpressed", unexpressed, ("drawn", "none"))
    if not (str(genes).isdigit() and int(genes) > 0):
        raise ConfigError(f"genes must be a whole number above 0, not {genes}")
    names = [str(name) for name in settings["genes"]]
    # ENSG of ENSG00000139618: the organism.
    organisms = [re.split(r"\d", name, maxsplit=1)[0] for name in names]
    tokenizer = GenesAndClasses(
        token_ids=np.arange(len(names), dtype=np.int32),
        organism=np.unique(organisms, return_inverse=True)[1],
        labels=len(settings["classes"]) + 1,
        share=settings.get("normalization", "sum") == "sum",
        genes=int(genes),
        keep=keep,
        unexpressed=unexpressed,
    )
    return CellPreprocessor(
        name="scprint",
        vocabulary=GeneVocabulary.of(names, kind="ensembl"),
        tokenizer=tokenizer,
        special=(tokenizer.labels + 1, 0),
        published=PublishedRule(system="scPRINT", column="index"),
    )


def load(
    folder: Path,
    *,
    size: str = "",
    classes: str = "",
    genes: int | str = _LONGEST,
    keep: str = "sample",
    unexpressed: str = "drawn",
) -> Scprint:
    """Load one checkpoint of scPRINT, strictly.

    Parameters
    ----------
    folder
        With the checkpoint.
    size
        Which, where the folder holds several: ``small``, ``medium``, ``large``, ``v2-medium``.
    classes
        Classes whose states are averaged, with commas between: those of the published command by default.
    genes
        Most genes of a cell.
    keep
        Which of more are read: a ``sample``, or the ``highest`` (the published ``most expr``).
    unexpressed
        ``drawn`` to fill up the genes, or ``none``.

    Raises
    ------
    CheckpointError, ConfigError
        If the file or a weight is missing, extra, mis-shaped or unsafe, or an option or kind is not known.
    """
    from biolm.models.systems.scprint_model import CLASSES, Scprint, class_rows, read_core

    path, settings, tensors = _stored(folder, size)
    preprocessor = _preprocessor(settings, genes, keep, unexpressed)
    rows = class_rows(settings, classes)
    options = {"size": path.stem, "genes": int(genes), "keep": keep, "unexpressed": unexpressed}
    core = read_core(path, tensors, settings)
    return Scprint(preprocessor, core, rows, [path], options | {"classes": classes or ",".join(CLASSES)})
