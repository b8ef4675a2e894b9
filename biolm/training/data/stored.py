"""Stored tokens as examples, behind a memory map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import replacing
from biolm.io.copied import copied
from biolm.io.token_store import (
    VOCABULARY,
    TokenStore,
    is_token_store,
    token_blocks,
    token_facts,
    write_tokens,
)
from biolm.training.config import LabelConfig
from biolm.training.data.examples import Examples
from biolm.training.data.vocabulary import Vocabulary

__all__ = ["StoredExamples", "check_tokens"]


class StoredExamples(Examples):
    """Tokens of ``biolm tokenize`` or ``biolm pack``, in flat arrays that are mapped, not loaded.

    Parameters
    ----------
    files
        The stored tokens, numbered through.
    folder
        Where they are unpacked, unless they are one packed store already; with None only :meth:`blocks`
        works then. Of several processes that share the folder one unpacks, the others wait for it.
    """

    def __init__(self, files: list[Path], folder: Path | None) -> None:
        self.files = files
        self.store: TokenStore | None = None
        # A store of biolm pack is mapped where it lies; all else is copied into one first.
        if len(files) == 1 and is_token_store(files[0]):
            self.store = TokenStore(files[0])
        elif folder is not None:
            self.store = TokenStore(copied(files, folder, lambda place: _write(files, place)))

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows``."""
        assert self.store is not None
        return self.store.read(rows)

    def blocks(self) -> Iterator[Tokens]:
        """All examples in order."""
        if self.store is not None:
            yield from self.store.blocks()
            return
        start = 0
        for tokens in token_blocks(self.files):
            index = np.arange(start, start + len(tokens))
            yield Tokens(ids=tokens.ids, offsets=tokens.offsets, index=index, values=tokens.values)
            start += len(tokens)

    def column(self, name: str, chosen: LabelConfig) -> NDArray[Any]:
        """Refused: only the cells themselves have columns."""
        if chosen.table is not None:
            raise ConfigError(f"data.labels.{name}.table labels sequences; cells have labels in obs columns")
        raise InputError(
            f"stored tokens have no obs column {chosen.column or name!r}; train on the cells themselves"
        )


def _write(files: list[Path], place: Path) -> None:
    with replacing(place) as temporary:
        write_tokens(files, temporary)


def check_tokens(files: Sequence[Path], vocabulary: Vocabulary) -> None:
    """Refuse stored tokens that were made with another vocabulary.

    Parameters
    ----------
    files
        The stored tokens.
    vocabulary
        Of the run.

    Raises
    ------
    InputError
        Naming the file. Tokens of earlier versions do not record their vocabulary, and pass.
    """
    own = None if vocabulary.genes is None else vocabulary.genes.fingerprint
    for path in files:
        metadata = token_facts(path)
        theirs = metadata.get(VOCABULARY)
        # Tokens are bare numbers: of another vocabulary they would be other genes without a word.
        if own is not None and theirs is not None and theirs != own:
            raise InputError(
                f"{path} holds tokens of {metadata.get('model')} with other genes than those of "
                "data.vocabulary or model.start; give the model they were made with"
            )
