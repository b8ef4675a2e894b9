"""Sequences by a decoder: it writes on from a prompt until it ends the sequence or the length is reached.

Dimensions: ``k`` tokens that were generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.progress import progress
from biolm.tasks.generate.prompts import OPEN, Prompt, letter_tokens
from biolm.tasks.generate.sequence import GeneratedSequence, Unit
from biolm.tasks.generate.settings import GenerateSettings
from biolm.vocab.lineage import lineage_tag

if TYPE_CHECKING:
    from biolm.core import Transformer
    from biolm.models.sequence_model import SequenceModel

__all__ = ["continuation_scores", "write_on"]


def write_on(
    reader: SequenceModel, prompts: Sequence[Prompt], settings: GenerateSettings, units: Sequence[Unit]
) -> list[GeneratedSequence]:
    """Write on from prompts.

    Parameters
    ----------
    reader
        A decoder, on its device.
    prompts
        Checked prompts.
    settings
        Choices of the job.
    units
        Which prompt each sequence is written from, and in which direction.

    Returns
    -------
    In the order of ``units``.

    Raises
    ------
    ConfigError
        If the model writes in one direction only and another is asked for, or an option means nothing here.
    InputError
        If a prompt is too long, has open places, or the model needs one and it is empty.
    """
    if settings.steps or settings.sweeps:
        raise ConfigError(f"steps and sweeps are for encoders, and model {reader.name} is a decoder")
    if settings.direction != "forward" and not reader.preprocessor.both_ways:
        raise ConfigError(f"model {reader.name} was trained to write forward only; leave the direction out")
    letters = letter_tokens(reader, ambiguous=settings.ambiguous)
    generated: dict[Unit, GeneratedSequence] = {}
    with progress("generating", len(units), show=settings.progress, unit="sequences") as advance:
        for direction in dict.fromkeys(unit.direction for unit in units):
            chosen = [unit for unit in units if unit.direction == direction]
            for unit, sequence in _one_way(reader, prompts, settings, letters, chosen):
                generated[unit] = sequence
                advance(1)
    # Sequences finish in any order; names and files keep that of the units.
    return [generated[unit] for unit in units]


def _one_way(
    reader: SequenceModel,
    prompts: Sequence[Prompt],
    settings: GenerateSettings,
    letters: NDArray[np.int64],
    units: Sequence[Unit],
) -> Iterator[tuple[Unit, GeneratedSequence]]:
    """Sequences of one direction, as they are finished."""
    from biolm.core import SamplingOptions, generate_each

    special = reader.tokenizer.special
    backward = units[0].direction == "backward"
    begin, stop = (special.suffix, special.prefix) if backward else (special.prefix, special.suffix)
    # The tag follows the first token, as in training.
    begin = (*begin, *_tag(reader, settings.lineage))
    longest = settings.max_length + len(begin)
    longest = longest if reader.max_length is None else min(longest, reader.max_length)
    starts = [_start(reader, prompt, begin, longest, backward=backward) for prompt in prompts]
    chosen = [starts[unit.row] for unit in units]
    options = SamplingOptions(
        **settings.sampling(),
        max_tokens=longest,
        max_total=longest,
        # Written backwards, a sequence ends with the token that it otherwise begins with.
        stop=stop[:1],
        allowed=[*letters.tolist(), *stop[:1]],
    )
    numbers = [unit.number(len(prompts)) for unit in units]
    for result in generate_each(reader.core, chosen, options, numbers=numbers):
        unit = units[result.index]
        # The terminator is scored with the sequence but is no letter of it.
        inner = result.ids[:-1] if result.reason == "stop" else result.ids
        text = reader.tokenizer.decode(np.array(inner[:: -1 if backward else 1], np.int64))
        prompt = prompts[unit.row]
        mark = ("r" if backward else "f") if settings.direction == "both" else ""
        yield (
            unit,
            GeneratedSequence(
                name=f"{prompt.name}_{mark}{unit.copy + 1}",
                sequence=text + prompt.letters if backward else prompt.letters + text,
                prompt=prompt.name,
                generated=len(text),
                # By a pass of its own: probabilities while sampling are those after temperature and top-k.
                log_probabilities=continuation_scores(reader.core, chosen[result.index], result.ids),
                end="terminator" if result.reason == "stop" else "length",
                direction=unit.direction,
            ),
        )


def continuation_scores(core: Transformer, prompt: Sequence[int], ids: Sequence[int]) -> NDArray[np.float64]:
    """Log-probability of tokens after a prompt, by one pass over all of them.

    Each sequence is read alone: the same numbers to the last bit, whatever was generated beside it.

    Parameters
    ----------
    core
        A causal model with a token head.
    prompt, ids
        Token ids before, and those to score.

    Returns
    -------
    ``(k,)`` natural logarithms.
    """
    import torch

    from biolm.batch import Batch

    # The last token is read by nobody.
    whole = torch.tensor([[*prompt, *ids][:-1]], device=core.embeddings.token.weight.device)
    rows = torch.arange(len(prompt) - 1, whole.shape[1], device=whole.device)
    with torch.inference_mode():
        logits = core(Batch.from_padded(whole), logits=rows).logits
        assert isinstance(logits, torch.Tensor)
        # Sums over thousands of tokens lose digits in float32.
        shares = logits.double().log_softmax(-1)
        wanted = torch.tensor(ids, device=whole.device)[:, None]
        scores: NDArray[np.float64] = shares.gather(1, wanted)[:, 0].cpu().numpy()
    return scores


def _tag(reader: SequenceModel, lineage: str | None) -> tuple[int, ...]:
    """Tokens of a lineage, which are read before a prompt and not written.

    Raises
    ------
    ConfigError
        If the model knows no lineages.
    InputError
        If it is none.
    """
    if lineage is None:
        return ()
    if not reader.preprocessor.lineages:
        raise ConfigError(f"model {reader.name} was trained on no lineages; leave the lineage out")
    return tuple(lineage_tag(lineage).encode("ascii"))


def _start(
    reader: SequenceModel, prompt: Prompt, begin: tuple[int, ...], longest: int, *, backward: bool
) -> list[int]:
    """Tokens that the model reads first."""
    if OPEN in prompt.letters:
        raise InputError(
            f"prompt {prompt.name!r} has open places ({OPEN}), which encoders fill; model {reader.name} is a "
            "decoder and writes on from the end of a prompt"
        )
    tokens = reader.tokenize(SequenceBlock.of([prompt.letters])).ids.tolist()
    before, after = reader.preprocessor.special
    inner = tokens[before : len(tokens) - after]
    ids = [*begin, *(inner[::-1] if backward else inner)]
    if not ids:
        raise InputError(f"model {reader.name} has no token that begins a sequence; give it a prompt")
    if len(ids) >= longest:
        raise InputError(
            f"prompt {prompt.name!r} has {len(inner):,} tokens, but a sequence may have "
            f"{longest - len(begin):,}; shorten it, or allow longer ones where the model reads more"
        )
    return ids
