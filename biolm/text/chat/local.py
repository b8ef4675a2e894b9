"""Text written by a local causal model, with the core's sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biolm.core import Transformer
from biolm.core.generate import generate
from biolm.core.sampling import SamplingOptions
from biolm.errors import CheckpointError, InputError
from biolm.models.families.hf import from_hf
from biolm.text.pieces import PieceTokenizer, load_pieces

__all__ = ["load_writer", "write_text"]


def load_writer(folder: Path) -> tuple[Transformer, PieceTokenizer]:
    """A causal model and its tokenizer.

    Raises
    ------
    CheckpointError
        If the model cannot write.
    """
    core = from_hf(folder)
    if not core.config.causal or core.config.head != "linear":
        raise CheckpointError(f"{folder} holds no causal model with a token head; it cannot write text")
    return core, load_pieces(folder)


def write_text(
    core: Transformer,
    tokenizer: PieceTokenizer,
    prompts: Sequence[str],
    options: SamplingOptions | None = None,
) -> list[str]:
    """What the model writes behind each prompt.

    Parameters
    ----------
    core, tokenizer
        As :func:`load_writer` gives them.
    prompts
        Texts.
    options
        Temperature, top_p, penalties over generated tokens, length, seed.

    Raises
    ------
    InputError
        If a prompt is longer than the model reads.
    """
    starts = []
    for prompt in prompts:
        # The token that begins a text alone: a closing one would end it.
        ids = [*tokenizer.prefix[:1], *tokenizer(prompt).ids.tolist()]
        if not ids or len(ids) >= tokenizer.longest:
            raise InputError(
                f"a prompt has {len(ids)} tokens; the model reads 1 to {tokenizer.longest - 1} and "
                "writes behind them"
            )
        starts.append(ids)
    return [tokenizer.text_of(result.ids) for result in generate(core, starts, options)]
