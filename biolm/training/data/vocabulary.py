"""What makes the tokens of a run, and which ids they have: genes and a tokeniser, or an alphabet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from biolm.adapters.cells import RankTokenizer
from biolm.errors import ConfigError
from biolm.models.native import read_vocabulary
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.registry import load_tokenizer
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.settings import read_fields

__all__ = ["Vocabulary", "preprocessor_of_folder", "tokeniser_of", "tokenizer_settings", "with_settings"]

Read = TypeVar("Read", CellPreprocessor, SequencePreprocessor)

_RANK = {"position": "learned", "head": "mlm", "embed_norm": True}
_VALUES = {"position": "none", "head": "value", "value_encoder": "continuous"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A tokeniser and the ids of all its tokens.

    Parameters
    ----------
    preprocessor
        What makes tokens of the data; None where the tokens are given, and only a bare core reads them.
    tokens
        Token to id, special tokens included.
    size
        Rows of the embedding.
    special_ids
        Ids that are never masked or predicted.
    mask_id
        Id of the mask token, None where there is none.
    core
        Fields of a core that suit the tokens, beside its sizes.
    reads
        The kind of data that becomes these tokens.
    """

    preprocessor: CellPreprocessor | SequencePreprocessor | None
    tokens: dict[str, int]
    size: int
    special_ids: tuple[int, ...]
    mask_id: int | None
    core: Mapping[str, Any] = field(default_factory=dict)
    reads: str = "cells"

    @classmethod
    def of_genes(cls, preprocessor: CellPreprocessor | None, tokens: dict[str, int]) -> Vocabulary:
        """Tokens of genes; names of special ones stand in angle brackets.

        Parameters
        ----------
        preprocessor
            Genes and tokeniser; None where the tokens are given.
        tokens
            Token to id.
        """
        core: dict[str, Any] = {"pad_id": tokens.get("<pad>")}
        if preprocessor is not None:
            # Ranks are places in a sentence; values stand beside their genes, whose order says nothing.
            core |= _RANK if isinstance(preprocessor.tokenizer, RankTokenizer) else _VALUES
            core["max_length"] = getattr(preprocessor.tokenizer, "max_length", None)
        return cls(
            preprocessor=preprocessor,
            tokens=tokens,
            size=max(tokens.values(), default=-1) + 1,
            # Gene names never begin so, and every published vocabulary here writes its special tokens so.
            special_ids=tuple(sorted(token for name, token in tokens.items() if name.startswith("<"))),
            mask_id=tokens.get("<mask>"),
            core=core,
        )

    @classmethod
    def of_alphabet(cls, preprocessor: SequencePreprocessor) -> Vocabulary:
        """Tokens of residues, bases or pieces of sequences; rows that no token has count as special."""
        tokenizer, special = preprocessor.tokenizer, preprocessor.tokenizer.special
        tokens = dict(tokenizer.vocabulary)
        named = {special.pad, special.mask, *special.prefix, *special.suffix, *special.others}
        unknown = next((token for token, number in tokens.items() if number == special.unknown), "")
        # An unknown token of one symbol (X, N) is an entry of the alphabet, which can be predicted.
        if len(unknown) > 1:
            named.add(special.unknown)
        symbols = set(tokens.values()) - named
        return cls(
            preprocessor=preprocessor,
            tokens=tokens,
            size=tokenizer.size,
            special_ids=tuple(number for number in range(tokenizer.size) if number not in symbols),
            mask_id=special.mask,
            core={
                "position": "rope",
                "head": "mlm",
                "max_length": preprocessor.max_length,
                "pad_id": special.pad,
            },
            reads="sequences",
        )

    @property
    def genes(self) -> CellPreprocessor | None:
        """The preprocessor, where its tokens are genes."""
        return self.preprocessor if isinstance(self.preprocessor, CellPreprocessor) else None

    @property
    def alphabet(self) -> SequencePreprocessor | None:
        """The preprocessor, where its tokens are symbols of sequences."""
        return self.preprocessor if isinstance(self.preprocessor, SequencePreprocessor) else None


def tokeniser_of(folder: str, kind: type[Read]) -> Read:
    """The torch-free half of a saved model.

    Parameters
    ----------
    folder
        Of the model.
    kind
        What it must be.

    Raises
    ------
    CheckpointError, ConfigError
        If the folder holds none, or the model reads other data.
    """
    preprocessor = load_tokenizer(folder)
    if not isinstance(preprocessor, kind):
        raise ConfigError(
            f"{folder} has no tokeniser of {kind.modality}; give the folder of a model of {kind.modality} "
            "that reads tokens"
        )
    return preprocessor


def preprocessor_of_folder(folder: str, settings: Mapping[str, Any] | None = None) -> Vocabulary:
    """The genes and tokeniser of a saved model, with other settings of the tokeniser where they are given.

    Parameters
    ----------
    folder
        Of the model.
    settings
        Of ``model.tokenizer``.

    Raises
    ------
    CheckpointError, ConfigError
        If the folder holds none.
    """
    changed = with_settings(tokeniser_of(folder, CellPreprocessor), settings or {})
    return Vocabulary.of_genes(changed, read_vocabulary(Path(folder).expanduser()))


def with_settings(preprocessor: CellPreprocessor, settings: Mapping[str, Any]) -> CellPreprocessor:
    """A preprocessor whose tokeniser has other settings.

    Parameters
    ----------
    preprocessor
        Of the model to start from.
    settings
        Of ``model.tokenizer``.

    Raises
    ------
    ConfigError
        If a setting is unknown, impossible, or is one of the vocabulary.
    """
    if not settings:
        return preprocessor
    tokenizer: Any = preprocessor.tokenizer
    return replace(
        preprocessor, tokenizer=replace(tokenizer, **tokenizer_settings(type(tokenizer), settings))
    )


def tokenizer_settings(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a tokeniser of cells; what belongs to the vocabulary is none.

    Parameters
    ----------
    kind
        Class of the tokeniser.
    settings
        Of ``model.tokenizer``.

    Raises
    ------
    ConfigError
        If one is unknown, of another type, or belongs to the vocabulary.
    """
    return read_fields(kind, settings, "model.tokenizer", hidden=("token_ids", "medians"))
