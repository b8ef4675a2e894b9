"""Make sequences: choose how by the model, mark repeats, look for the nearest record of a reference."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from biolm.adapters.sequences import check_kind
from biolm.errors import ConfigError, OutputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.sequences import SequenceBlock, concatenate_blocks, open_sequences
from biolm.progress import progress
from biolm.tasks.generate.nearest import Reference
from biolm.tasks.generate.prompts import read_prompts, usable_prompts
from biolm.tasks.generate.sequence import GeneratedSequence
from biolm.tasks.generate.settings import GenerateKeywords, GenerateSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["GenerateSummary", "generate", "generate_file"]

_LINE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSummary:
    """What a job did.

    Parameters
    ----------
    output
        The file.
    sequences
        How many it holds.
    empty
        How many were left out because they hold no letter.
    unfinished
        How many were cut at the most that was allowed.
    duplicates
        How many repeat an earlier one.
    copies
        How many are near a record of the reference; None without one.
    """

    output: Path
    sequences: int
    empty: int
    unfinished: int
    duplicates: int
    copies: int | None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"output": str(self.output)}


def generate(
    model: str | Path | SequenceModel,
    prompts: str | Path | Sequence[str] | SequenceBlock | None = None,
    *,
    reference: str | Path | SequenceBlock | None = None,
    **options: Unpack[GenerateKeywords],
) -> list[GeneratedSequence]:
    """Make sequences with a model of proteins or DNA.

    A decoder (ProGen2, IgLM, GenomeOcean, a model of your own) writes on from a prompt; an encoder (ESM)
    fills the open places of a template.

    Parameters
    ----------
    model
        Checkpoint folder, hub id or loaded model.
    prompts
        Letters or several of them, a sequence file, or records in memory. ``_`` is an open place. None lets a
        decoder begin by itself.
    reference
        Records, such as the training data, in which the nearest to each sequence is looked for.
    options
        Fields of :class:`~biolm.tasks.generate.settings.GenerateSettings`.

    Returns
    -------
    By prompt, then direction, then number. Those without a letter, which ended at once, are among them.

    Raises
    ------
    ConfigError
        If the model cannot do what is asked for.
    InputError
        If a prompt or the reference cannot be used.

    Examples
    --------
    >>> import biolm
    >>> made = biolm.generate("checkpoints/progen2-small", "MKT", number=10)  # doctest: +SKIP
    >>> biolm.generate("checkpoints/esm2", "MKT___ALW", temperature=0)[0].sequence  # doctest: +SKIP
    'MKTLLLALW'
    """
    return _generate(model, prompts, reference, GenerateSettings(**options))


def generate_file(
    model: str | Path | SequenceModel,
    output: str | Path,
    prompts: str | Path | Sequence[str] | SequenceBlock | None,
    settings: GenerateSettings,
    reference: str | Path | None = None,
) -> GenerateSummary:
    """Make sequences and write them as FASTA, log-likelihoods in the headers.

    Parameters
    ----------
    model, prompts, reference
        As of :func:`generate`.
    output
        The FASTA file.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        As :func:`generate`, or if the output cannot be written or would be empty.
    """
    target = Path(output)
    refuse_existing(target, overwrite=settings.overwrite)
    made = _generate(model, prompts, reference, settings)
    kept = [each for each in made if each.sequence]
    if not kept:
        raise OutputError(
            f"all {len(made)} sequences ended before their first letter, so {target} was not written; give a "
            "prompt or another seed"
        )
    with replacing(target, overwrite=settings.overwrite) as temporary:
        temporary.write_text("".join(_record(each, settings.near) for each in kept), encoding="ascii")
    near = [each.identity >= settings.near for each in kept if each.identity is not None]
    return GenerateSummary(
        output=target,
        sequences=len(kept),
        empty=len(made) - len(kept),
        unfinished=sum(each.end == "length" for each in kept),
        duplicates=sum(bool(each.duplicate_of) for each in kept),
        copies=None if reference is None else sum(near),
    )


def _generate(
    model: str | Path | SequenceModel,
    prompts: str | Path | Sequence[str] | SequenceBlock | None,
    reference: str | Path | SequenceBlock | None,
    settings: GenerateSettings,
) -> list[GeneratedSequence]:
    from biolm.jobs.bind import sequence_model
    from biolm.models.running import pick_device
    from biolm.tasks.generate.decode import write_on
    from biolm.tasks.generate.infill import fill_in

    reader = sequence_model(model)
    config = reader.core.config
    writes = config.causal and config.head == "linear"
    if not writes and (config.causal or config.head not in ("linear", "mlm")):
        raise ConfigError(
            f"model {reader.name} has no head for tokens, so it cannot make sequences; use another"
        )
    begun = usable_prompts(read_prompts(prompts), reader)
    known = None if reference is None else _reference(reference, reader)
    reader.core.to(pick_device(settings.device))
    made = write_on(reader, begun, settings) if writes else fill_in(reader, begun, settings)
    return _looked_up(_marked(made), known, settings)


def _marked(made: list[GeneratedSequence]) -> list[GeneratedSequence]:
    """Name the first sequence with the same letters."""
    first: dict[str, str] = {}
    found = []
    for each in made:
        name = first.setdefault(each.sequence, each.name)
        found.append(each if name == each.name else replace(each, duplicate_of=name))
    return found


def _looked_up(
    made: list[GeneratedSequence], known: Reference | None, settings: GenerateSettings
) -> list[GeneratedSequence]:
    """Name the nearest record of the reference."""
    if known is None:
        return made
    found, held = [], {"": ("", 0.0)}
    with progress("comparing", len(made), show=settings.progress, unit="sequences") as advance:
        for each in made:
            if each.sequence not in held:
                held[each.sequence] = known.nearest(each.sequence)
            name, share = held[each.sequence]
            found.append(replace(each, nearest=name, identity=share))
            advance(1)
    return found


def _reference(given: str | Path | SequenceBlock, reader: SequenceModel) -> Reference:
    if isinstance(given, SequenceBlock):
        block = given
    else:
        with open_sequences(given) as source:
            block = concatenate_blocks(list(source.blocks()))
    check_kind(block, reader.kind, name="the reference")
    return Reference(block, protein=reader.kind == "protein")


def _record(each: GeneratedSequence, near: float) -> str:
    lines = textwrap.wrap(each.sequence, _LINE)
    return "\n".join([f">{each.name} {each.description(near)}", *lines, ""])
