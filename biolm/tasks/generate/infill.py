"""Sequences by an encoder: open places of a template are filled, the surest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.progress import progress
from biolm.tasks.generate.prompts import OPEN, Prompt, letter_tokens
from biolm.tasks.generate.sequence import GeneratedSequence, Unit
from biolm.tasks.generate.settings import GenerateSettings

if TYPE_CHECKING:
    from biolm.core.refine import Template
    from biolm.models.sequence_model import SequenceModel

__all__ = ["fill_in"]


def fill_in(
    reader: SequenceModel, prompts: Sequence[Prompt], settings: GenerateSettings, units: Sequence[Unit]
) -> list[GeneratedSequence]:
    """Fill the open places of templates.

    Parameters
    ----------
    reader
        An encoder, on its device.
    prompts
        Checked templates.
    settings
        Choices of the job.
    units
        Which template each sequence is made from.

    Returns
    -------
    In the order of ``units``.

    Raises
    ------
    ConfigError
        If the model has no token for each letter or no mask, or an option means nothing here.
    InputError
        If a template has no open place or is too long.
    """
    from biolm.core import SamplingOptions
    from biolm.core.refine import place_scores, refine

    mask = reader.tokenizer.special.mask
    if mask is None or not reader.tokenizer.one_to_one:
        raise ConfigError(
            f"model {reader.name} has no mask for single residues or bases, so it cannot fill places in"
        )
    if settings.lineage is not None:
        raise ConfigError(f"model {reader.name} was trained on no lineages; leave the lineage out")
    if settings.direction != "forward" or settings.repetition_penalty != 1:
        raise ConfigError(
            f"direction and repetition penalty are for decoders, and model {reader.name} is an encoder"
        )
    letters = letter_tokens(reader, ambiguous=settings.ambiguous).tolist()
    options = SamplingOptions(**settings.sampling(), allowed=letters)
    templates = [_template(reader, prompt, letters[0]) for prompt in prompts]
    filled = refine(
        reader.core,
        [templates[unit.row] for unit in units],
        options,
        mask=mask,
        steps=settings.steps,
        sweeps=settings.sweeps,
        numbers=[unit.number(len(prompts)) for unit in units],
    )
    generated = []
    with progress("scoring", len(filled), show=settings.progress, unit="sequences") as advance:
        for ids, unit in zip(filled, units, strict=True):
            prompt, template = prompts[unit.row], templates[unit.row]
            done = type(template)(ids, template.places)
            generated.append(
                GeneratedSequence(
                    name=f"{prompt.name}_{unit.copy + 1}",
                    sequence=_overlaid(reader, prompt, done),
                    prompt=prompt.name,
                    generated=len(template.places),
                    # Each place masked once with all others filled: a pseudo-log-likelihood (Salazar et al.
                    # 2020).
                    log_probabilities=np.array(place_scores(reader.core, done, mask=mask)),
                    end="template",
                )
            )
            advance(1)
    return generated


def _overlaid(reader: SequenceModel, prompt: Prompt, done: Template) -> str:
    """The template's own letters, and those that were chosen at its places."""
    letters = list(prompt.letters)
    chosen = reader.tokenizer.decode(np.array([done.ids[place] for place in done.places], np.int64))
    for place, letter in zip(prompt.places, chosen, strict=True):
        letters[place] = letter
    return "".join(letters)


def _template(reader: SequenceModel, prompt: Prompt, stand_in: int) -> Template:
    """Tokens of a template and its open places among them."""
    from biolm.core.refine import Template

    places = prompt.places
    if not places:
        raise InputError(
            f"model {reader.name} is an encoder and cannot write on; mark the places it shall fill by "
            f"{OPEN}, such as MKT{OPEN * 3}AL"
        )
    # A stand-in keeps the length: the open mark itself is no letter that the tokeniser knows.
    letter = next(token for token, number in reader.tokenizer.vocabulary.items() if number == stand_in)
    block = SequenceBlock.of([prompt.letters.replace(OPEN, letter)])
    ids = reader.tokenize(block).ids.tolist()
    if reader.max_length is not None and len(ids) > reader.max_length:
        longest = reader.max_length - sum(reader.preprocessor.special)
        raise InputError(
            f"template {prompt.name!r} has {len(prompt.letters):,} residues or bases but model "
            f"{reader.name} reads at "
            f"most {longest:,}; shorten it"
        )
    before = reader.preprocessor.special[0]
    return Template(ids, [before + place for place in places])
