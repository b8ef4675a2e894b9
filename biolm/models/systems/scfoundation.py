"""scFoundation (Hao et al. 2024): expressed genes with continuous values, and what depth to imagine.

A folder holds ``models.ckpt`` with the models ``cell``, ``gene`` and ``rde``, and the 19,264 genes in order:
``OS_scRNA_gene_index.19264.tsv`` or ``genes.txt``. A token is a gene with ``log(1 + 10,000 x / sum)``; two
more follow, T and S: the logarithm (base 10) of the total that is wanted and of the cell's own. The encoder
reads the expressed genes alone; the decoder gives all genes a vector and a denoised value.

Attention of the decoder depends on the cell alone, unless ``stabiliser="batch"`` as published for batches.

Dimensions: ``m`` genes of the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.preprocessor import CellPreprocessor, find_file
from biolm.models.systems.cell_folders import choose, gene_list
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.systems.scfoundation_model import Scfoundation

__all__ = ["ValuesAndDepth", "load", "load_tokenizer", "recognises", "target_depth"]

_WEIGHTS = "models.ckpt"
VERSIONS, VECTORS = ("cell", "gene", "rde"), ("all", "max")


@dataclass(frozen=True, kw_only=True, eq=False)
class ValuesAndDepth:
    """Expressed genes in order with their values, then T and S.

    Parameters
    ----------
    token_ids
        ``(m,)``: the genes' own numbers; ``m`` is T and ``m + 1`` S.
    depth
        What T is, see :func:`target_depth`.
    """

    token_ids: NDArray[np.int32]
    depth: str

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Tokens of the cells of a block, with float32 values.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        rows = prepare(block, match)
        count = len(self.token_ids)
        ids, values = [], []
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            genes, amounts = match.target[rows.indices[start:stop]], rows.data[start:stop].astype(np.float64)
            kept = (genes >= 0) & (amounts > 0)
            order = np.argsort(genes[kept], kind="stable")
            genes, amounts = genes[kept][order], amounts[kept][order]
            # A cell without counts has a vector of zeros in the end, whatever stands here.
            total = amounts.sum() or 1.0
            ids.append(np.concatenate([genes, [count, count + 1]]))
            depth = [target_depth(self.depth, total), np.log10(total)]
            values.append(np.concatenate([np.log1p(amounts * (1e4 / total)), depth]))
        offsets = np.cumsum([0, *map(len, ids)])
        return Tokens(
            ids=(np.concatenate(ids) if ids else np.zeros(0)).astype(np.int32),
            offsets=offsets,
            index=block.numbers,
            values=(np.concatenate(values) if values else np.zeros(0)).astype(np.float32),
        )


def target_depth(mode: str, total: float) -> float:
    """The value T of a cell, as ``tgthighres`` of the published code.

    Parameters
    ----------
    mode
        ``t4``: 4, that is 10,000 counts; ``f2``: twice the cell's own total; ``a1``: its logarithm plus 1.
    total
        Counts of the cell.

    Raises
    ------
    ConfigError
        For another mode.

    Examples
    --------
    >>> target_depth("t4.5", 100), target_depth("f10", 100), target_depth("a1", 100)
    (4.5, 3.0, 3.0)
    """
    match = re.fullmatch(r"([tfa])(\d+(?:\.\d+)?)", mode)
    if match is None or (match[1] == "f" and float(match[2]) == 0):
        raise ConfigError(f"tgthighres must be t, f or a and a number, such as t4, f2 or a1, not {mode!r}")
    number = float(match[2])
    if match[1] == "t":
        return number
    return float(np.log10(total * number) if match[1] == "f" else np.log10(total) + number)


def recognises(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of scFoundation."""
    return (folder / _WEIGHTS).is_file()


def load_tokenizer(folder: Path, *, tgthighres: str = "t4") -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    tgthighres
        The depth that is asked for, see :func:`target_depth`.

    Raises
    ------
    CheckpointError
        If the list of genes is missing.
    ConfigError
        For another depth.
    """
    target_depth(tgthighres, 1.0)
    index = find_file([folder], lambda name: name.startswith("OS_scRNA_gene_index") and name.endswith(".tsv"))
    if index is None:
        source = "OS_scRNA_gene_index.19264.tsv of the scFoundation repository"
        genes, path = gene_list(folder, (), source=source)
    else:
        lines = [line.split("\t")[0] for line in index.read_text().splitlines() if line.strip()]
        genes, path = lines[lines[0] == "gene_name" :], index
    return CellPreprocessor(
        name="scfoundation",
        vocabulary=GeneVocabulary.of(genes, kind="symbol", species=("human",)),
        tokenizer=ValuesAndDepth(token_ids=np.arange(len(genes), dtype=np.int32), depth=tgthighres),
        special=(0, 2),
        files=(path,),
        published=PublishedRule(system="scFoundation", column="index"),
    )


def load(
    folder: Path,
    *,
    version: str = "cell",
    tgthighres: str = "t4",
    vector: str = "all",
    stabiliser: str = "document",
) -> Scfoundation:
    """Load a scFoundation folder, strictly.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    version
        ``cell`` for vectors of cells, ``gene`` for those of genes, ``rde`` for denoising.
    tgthighres
        The depth that is asked for, see :func:`target_depth`.
    vector
        ``all``: S, T, maximum and mean over genes end to end; ``max``: maximum over all tokens.
    stabiliser
        Whose largest key feature steadies the decoder: of the ``document``, a cell, or of the ``batch``.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    ConfigError
        For an option that is not known.
    """
    for name, value, allowed in (
        ("version", version, VERSIONS),
        ("vector", vector, VECTORS),
        ("stabiliser", stabiliser, ("document", "batch")),
    ):
        choose(name, value, allowed)
    from biolm.models.systems.scfoundation_model import Scfoundation, read_model

    preprocessor, path = load_tokenizer(folder, tgthighres=tgthighres), folder / _WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {_WEIGHTS}; give the folder of a scFoundation checkpoint")
    core, decoder, ids = read_model(path, version, genes=len(preprocessor.vocabulary), stabiliser=stabiliser)
    options = {"version": version, "tgthighres": tgthighres, "vector": vector, "stabiliser": stabiliser}
    return Scfoundation(preprocessor, core, decoder, [path], options, ids)
