"""tGPT (Shen et al. 2023): a cell as the sentence of its most expressed genes, read by GPT-2.

A folder holds ``config.json``, the weights and ``tokenizer.json``; tokeniser and weights may also lie in the
folders ``tokenizer`` and ``checkpoint``. Symbols are written with ``_`` for ``-`` and ``.``. A sentence is 62
genes between ``</b>`` and ``</s>``; a cell's vector is the mean of the last hidden state over the genes.

The published code knows no file of genes: a name outside the vocabulary becomes ``<unk>`` and takes a place
among the 62. That is kept by default; ``load(folder, unknown="skip")`` leaves such genes out.

Dimensions: ``m`` genes of the vocabulary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.batch import Tokens
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows, choose
from biolm.vocab.gene_table import gene_table
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from biolm.models.token_model import TokenCellModel

__all__ = ["RankSentences", "load", "load_tokenizer", "recognises", "underscored"]

GENES = 62
_BEGIN, _END, _UNKNOWN = "</b>", "</s>", "<unk>"
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class RankSentences:
    """The most expressed genes of a cell by falling value, ties by column of the file.

    Parameters
    ----------
    token_ids
        ``(m,)`` token of each gene of the vocabulary.
    begin_id, end_id
        Tokens before and after the genes.
    unknown_id
        Token of a gene outside the vocabulary; None to leave it out.
    genes
        Most genes of a sentence.
    """

    token_ids: NDArray[np.int32]
    begin_id: int
    end_id: int
    unknown_id: int | None
    genes: int = GENES

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:  # noqa: ARG002
        """Sentences of the cells of a block; a cell without counts has the two special tokens alone.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        rows = prepare(block, match)
        token_of = np.full(len(match.target), -1 if self.unknown_id is None else self.unknown_id, np.int32)
        known = match.target >= 0
        token_of[known] = self.token_ids[match.target[known]]
        sentences = []
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            tokens, values = token_of[rows.indices[start:stop]], rows.data[start:stop]
            kept = (values > 0) & (tokens >= 0)
            order = np.argsort(-values[kept], kind="stable")[: self.genes]
            sentences.append(np.concatenate([[self.begin_id], tokens[kept][order], [self.end_id]]))
        return Tokens.joined(sentences, block.numbers)


def underscored(name: str) -> str:
    """A symbol as the published code writes it.

    Examples
    --------
    >>> underscored("RP11-34P13.7")
    'RP11_34P13_7'
    """
    return re.sub(r"[-.]", "_", name)


def recognises(folder: Path) -> bool:
    """Whether a folder holds a GPT-2 and a tokeniser of whole words that begin with ``</b>``."""
    weights, tokenizer = _parts(folder)
    if not (weights / "config.json").is_file() or not tokenizer.is_file():
        return False
    if read_json(weights / "config.json").get("model_type") != "gpt2":
        return False
    model = read_json(tokenizer).get("model", {})
    return model.get("type") == "WordLevel" and _BEGIN in model.get("vocab", {})


def _parts(folder: Path) -> tuple[Path, Path]:
    """Folder of the weights, and the tokeniser's file: in one folder, or in two beside each other."""
    weights = folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder
    places = (folder, folder / "tokenizer", folder.parent / "tokenizer")
    files = [place / _TOKENIZER for place in places if (place / _TOKENIZER).is_file()]
    return weights, files[0] if files else folder / _TOKENIZER


def load_tokenizer(folder: Path, *, unknown: str = "keep", genes: int = GENES) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched and torch is not imported.

    Parameters
    ----------
    folder
        The folder of a checkpoint.
    unknown
        ``keep`` reads genes outside the vocabulary as ``<unk>``, as published; ``skip`` leaves them out.
    genes
        Most genes of a sentence: 62, or 126 for the longer of the published models.

    Raises
    ------
    CheckpointError
        If the vocabulary lacks a special token or is not that of the weights.
    ConfigError
        If ``unknown`` is neither, or the model has too few positions for so many genes.
    """
    choose("unknown", unknown, ("keep", "skip"))
    weights, path = _parts(folder)
    config, vocab = read_json(weights / "config.json"), read_json(path)["model"]["vocab"]
    lacking = [token for token in (_BEGIN, _END, _UNKNOWN) if token not in vocab]
    if lacking:
        raise CheckpointError(f"{path} lacks {', '.join(lacking)}; give the tokeniser of a tGPT checkpoint")
    check_rows(path, max(vocab.values()), weights / "config.json", int(config["vocab_size"]))
    positions = int(config.get("n_positions", 1024))
    if not 1 <= int(genes) <= positions - 2:
        raise ConfigError(f"genes must lie between 1 and {positions - 2}, not {genes}")
    tokens = {name: token for name, token in vocab.items() if not re.fullmatch(r"</?\w+>", name)}
    tokenizer = RankSentences(
        token_ids=np.array(list(tokens.values()), np.int32),
        begin_id=vocab[_BEGIN],
        end_id=vocab[_END],
        unknown_id=vocab[_UNKNOWN] if unknown == "keep" else None,
        genes=int(genes),
    )
    return CellPreprocessor(
        name="tgpt",
        vocabulary=GeneVocabulary.of(_symbols(tokens), kind="symbol", species=("human",)),
        tokenizer=tokenizer,
        special=(1, 1),
        files=(weights / "config.json", path),
        # Only the order of a cell's genes is read, which normalising and logarithms keep.
        wants_counts=False,
        published=PublishedRule(system="tGPT", column="index", rewrite=underscored),
    )


def _symbols(tokens: dict[str, Any]) -> list[str]:
    """How the genes are called elsewhere: of a current symbol that is written as the token, that symbol."""
    written: dict[str, str] = {}
    for symbol in gene_table().symbol_to_ensembl("human"):
        written.setdefault(underscored(symbol), symbol)
    # Clones are named LIBRARY-PLATE.NUMBER, and most of them have no symbol any more.
    clone = re.compile(r"([A-Z]+\d*)_(\d+[A-Z]+\d+)_(\d+)$")
    numbered = re.compile(r"(A[A-Z]\d{6})_(\d+)$")
    names = []
    for token in tokens:
        symbols = written.get(token) or numbered.sub(r"\1.\2", clone.sub(r"\1-\2.\3", token))
        names.append(symbols if symbols == token or symbols not in tokens else token)
    return names


def load(folder: Path, *, unknown: str = "keep", genes: int = GENES) -> TokenCellModel:
    """Load a tGPT folder, strictly; options as of :func:`load_tokenizer`.

    Parameters
    ----------
    folder
        Of the checkpoint.
    unknown, genes
        As of :func:`load_tokenizer`.

    Raises
    ------
    CheckpointError
        If a weight is missing, extra or mis-shaped, or the vocabulary is that of another model.
    ConfigError
        For options that do not fit.
    """
    from biolm.core.checkpoint import find_weights
    from biolm.models.families.hf import from_hf
    from biolm.models.token_model import TokenCellModel

    preprocessor = load_tokenizer(folder, unknown=unknown, genes=genes)
    weights, _ = _parts(folder)
    files = find_weights(weights)
    return TokenCellModel(
        preprocessor,
        from_hf(weights),
        pool="mean",
        hidden_state=-1,
        files=files,
        options={"unknown": unknown, "genes": int(genes)},
    )
