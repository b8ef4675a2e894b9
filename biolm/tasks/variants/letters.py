"""The letter policy where variants are scored: of one protein, and of windows of a genome.

Dimensions: ``m`` windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally, admitted
from biolm.errors import InputError
from biolm.io.sequences import SequenceBlock
from biolm.progress import log
from biolm.tasks.variants.settings import VariantSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["readable_protein", "readable_windows"]


def readable_protein(text: str, model: SequenceModel, settings: VariantSettings, tally: Tally) -> str:
    """The unchanged protein as the model is to read it, in upper case.

    Parameters
    ----------
    text
        Its letters.
    model
        The model.
    settings
        What is done with residues or bases that the model does not know.
    tally
        Counts them.

    Raises
    ------
    InputError
        If it holds such a letter and the policy refuses or skips it.
    """
    block = SequenceBlock.of([text.upper()], ["the unchanged protein"])
    block = admitted(block, model.tokenizer, settings.letters, tally)
    if not len(block):
        named = ", ".join(repr(letter) for letter in sorted(tally.letters))
        raise InputError(
            f"the protein holds residues that model {model.name} does not know ({named}), so no variant "
            "of it "
            "is scored; read them as unknown (`letters='unknown'`)"
        )
    if sentence := tally.sentence():
        log.warning("%s", sentence)
    return block.text(0)


def readable_windows(
    windows: Sequence[bytes], model: SequenceModel, settings: VariantSettings, tally: Tally
) -> NDArray[np.bool_]:
    """``(m,)`` windows of a genome that the model is to read; those with an unknown base go with ``skip``.

    Parameters
    ----------
    windows
        Letters round variants.
    model, settings, tally
        As of :func:`readable_protein`.

    Raises
    ------
    InputError
        If one holds a letter that the model does not know and the policy is ``error``.
    """
    block = SequenceBlock.of([each.decode("ascii", "replace") for each in windows])
    # Tokenised for the policy alone: windows are made again when they are scored, as they fill memory.
    tokens = model.tokenize(block, policy=settings.letters, tally=tally)
    read = np.zeros(len(windows), bool)
    read[tokens.index] = True
    return read
