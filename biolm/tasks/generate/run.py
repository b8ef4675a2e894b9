"""Make sequences: choose how by the model, mark repeats, look for the nearest record of a reference."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally, check_kind
from biolm.errors import ConfigError, OutputError
from biolm.io.provenance import digest, plain
from biolm.io.sequences import SequenceBlock, concatenate_blocks, open_sequences
from biolm.jobs.job import Job, block_ends, check_outputs
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Parts
from biolm.options import check_needs, read_options
from biolm.progress import progress
from biolm.tasks.generate.nearest import Reference
from biolm.tasks.generate.prompts import Prompt, read_prompts, usable_prompts
from biolm.tasks.generate.sequence import GeneratedSequence, Unit
from biolm.tasks.generate.settings import GenerateSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["GenerateSummary", "generate", "generate_file", "merge_generated"]

KIND = "generated"
_BATCHES = 8  # batches of one block: few would leave places empty while the longest are finished
_RUN = ("resume", "shard", "format", "overwrite", "progress")
_TEXTS = ("name", "sequence", "prompt", "end", "direction")
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
    letters
        What was met in the letters of the prompts: taken out, left out, masked.
    """

    output: Path
    sequences: int
    empty: int
    unfinished: int
    duplicates: int
    copies: int | None
    letters: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"output": str(self.output)}


def generate(
    model: str | Path | SequenceModel,
    prompts: str | Path | Sequence[str] | SequenceBlock | None = None,
    *,
    reference: str | Path | SequenceBlock | None = None,
    **options: Any,
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
    settings: GenerateSettings = read_options(GenerateSettings, options, "generate")
    settings.check_in_memory()
    check_needs(settings, reference=reference, prompts=prompts)
    work = _Work.of(model, prompts, settings)
    known = None if reference is None else _reference(reference, work.protein)
    return _looked_up(_marked(work.generated(work.units)), known, settings)


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
        As of :func:`generate`; the reference as a path.
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
    check_outputs(target, (".fasta", ".fa", ".faa", ".fna") if settings.shard else (target.suffix,), settings)
    check_needs(settings, reference=reference, prompts=prompts)
    work = _Work.of(model, prompts, settings)
    known = None if reference is None else _reference(reference, work.protein)
    generated: list[GeneratedSequence] = []
    # What changes the sequences makes the job; how it is run does not.
    names = [entry.name for entry in fields(GenerateSettings)]
    options = {name: getattr(settings, name) for name in names if name not in _RUN}

    def compute(units: Sequence[Unit]) -> dict[str, NDArray[Any]]:
        sequences = work.generated(units)
        # Kept for the summary of a shard, which has no finish.
        generated.extend(sequences)
        return _arrays(sequences)

    def finish(parts: Parts, path: Path) -> None:
        # From the stored blocks, not from memory: a resumed run made only some of them.
        generated[:] = _looked_up(_marked(_sequences(parts)), known, settings)
        _write(generated, path, target, settings.near)

    Job(
        kind=KIND,
        same={
            "input": {"prompts": digest({each.name: each.letters for each in work.prompts})},
            "model": plain(work.reader.describe()),
            "options": options,
        },
        facts={
            "reference": None if reference is None else str(Path(reference).resolve()),
            "letters": work.tally.as_dict(),
        },
        ends=block_ends(len(work.units), _BATCHES * settings.batch_size),
        blocks=work.blocks,
        compute=compute,
        finish=finish,
        label="generating",
        unit="sequences",
    ).run(target, settings)
    return _summary(generated, target, settings.near, work.tally)


def merge_generated(merging: Merging) -> int:
    """Write the sequences of all shards as the whole job would; how many there are."""
    merging.refuse_form("sequences are written as FASTA")
    job, metadata = merging.job, merging.facts
    # All that merging needs: sequences are made already.
    settings = GenerateSettings(near=job["options"]["near"])
    place = metadata.get("reference") if merging.data is None else merging.data
    known = None if place is None else _reference(place, job["model"]["reads"] == "protein")
    generated = _looked_up(_marked(_sequences(merging.parts)), known, settings)
    merging.write(lambda path: _write(generated, path, merging.target, settings.near))
    return sum(bool(each.sequence) for each in generated)


def _write(generated: list[GeneratedSequence], path: Path, target: Path, near: float) -> None:
    kept = [each for each in generated if each.sequence]
    # An empty FASTA would be taken for a job that worked.
    if not kept:
        raise OutputError(
            f"all {len(generated)} sequences ended before their first letter, so {target} was not "
            "written; give a prompt or another seed"
        )
    path.write_text("".join(_record(each, near) for each in kept), encoding="ascii")


def _summary(generated: list[GeneratedSequence], target: Path, near: float, tally: Tally) -> GenerateSummary:
    kept = [each for each in generated if each.sequence]
    copies = [each.identity >= near for each in kept if each.identity is not None]
    return GenerateSummary(
        output=target,
        sequences=len(kept),
        empty=len(generated) - len(kept),
        unfinished=sum(each.end == "length" for each in kept),
        duplicates=sum(bool(each.duplicate_of) for each in kept),
        copies=sum(copies) if copies else None,
        letters=tally.as_dict(),
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A model and prompts that fit each other."""

    reader: SequenceModel
    prompts: Sequence[Prompt]
    settings: GenerateSettings
    writes: bool
    tally: Tally

    @classmethod
    def of(
        cls,
        model: str | Path | SequenceModel,
        prompts: str | Path | Sequence[str] | SequenceBlock | None,
        settings: GenerateSettings,
    ) -> _Work:
        from biolm.jobs.bind import sequence_model
        from biolm.models.running import pick_device

        reader = sequence_model(model)
        config = reader.core.config
        # A causal core writes on; one that sees both sides fills places in.
        writes = config.causal and config.head == "linear"
        if not writes and (config.causal or config.head not in ("linear", "mlm")):
            raise ConfigError(
                f"model {reader.name} has no head for tokens, so it cannot make sequences; use another"
            )
        tally = Tally()
        begun = usable_prompts(read_prompts(prompts), reader, settings.letters, tally)
        reader.core.to(pick_device(settings.device))
        return cls(reader=reader, prompts=begun, settings=settings, writes=writes, tally=tally)

    @property
    def protein(self) -> bool:
        """Whether the model writes proteins."""
        return self.reader.kind == "protein"

    @property
    def units(self) -> list[Unit]:
        """All sequences to be made: by prompt, then direction, then number."""
        both = ("forward", "backward")
        ways = both if self.settings.direction == "both" else (self.settings.direction,)
        rows, copies = range(len(self.prompts)), range(self.settings.number)
        return [Unit(row, way, copy) for row in rows for way in ways for copy in copies]

    def blocks(self, first: int, last: int) -> Iterator[list[Unit]]:
        """The blocks ``first`` to ``last`` of them."""
        units, step = self.units, _BATCHES * self.settings.batch_size
        for number in range(first, last):
            yield units[number * step : (number + 1) * step]

    def generated(self, units: Sequence[Unit]) -> list[GeneratedSequence]:
        """The sequences of some units."""
        from biolm.tasks.generate.decode import write_on
        from biolm.tasks.generate.infill import fill_in

        make = write_on if self.writes else fill_in
        return make(self.reader, self.prompts, self.settings, units)


def _arrays(generated: Sequence[GeneratedSequence]) -> dict[str, NDArray[Any]]:
    texts = {name: np.array([getattr(each, name) for each in generated], str) for name in _TEXTS}
    scores = [each.log_probabilities for each in generated]
    return {
        **texts,
        "made": np.array([each.generated for each in generated], np.int64),
        "counts": np.array([len(each) for each in scores], np.int64),
        "scores": np.concatenate([np.zeros(0), *scores]),
    }


def _sequences(parts: Parts) -> list[GeneratedSequence]:
    sequences = []
    for part in parts:
        ends = np.cumsum(part["counts"]).tolist()
        for row, end in enumerate(ends):
            texts: dict[str, Any] = {name: str(part[name][row]) for name in _TEXTS}
            scores = part["scores"][end - int(part["counts"][row]) : end]
            sequences.append(
                GeneratedSequence(**texts, generated=int(part["made"][row]), log_probabilities=scores)
            )
    return sequences


def _marked(generated: list[GeneratedSequence]) -> list[GeneratedSequence]:
    """Name the first sequence with the same letters."""
    first: dict[str, str] = {}
    marked = []
    for each in generated:
        name = first.setdefault(each.sequence, each.name)
        marked.append(each if name == each.name else replace(each, duplicate_of=name))
    return marked


def _looked_up(
    generated: list[GeneratedSequence], known: Reference | None, settings: GenerateSettings
) -> list[GeneratedSequence]:
    """Name the nearest record of the reference."""
    if known is None:
        return generated
    sequences, nearest_of = [], {"": ("", 0.0)}
    with progress("comparing", len(generated), show=settings.progress, unit="sequences") as advance:
        for each in generated:
            # Duplicates are aligned once; alignment is what takes the time.
            if each.sequence not in nearest_of:
                nearest_of[each.sequence] = known.nearest(each.sequence)
            name, identity = nearest_of[each.sequence]
            sequences.append(replace(each, nearest=name, identity=identity))
            advance(1)
    return sequences


def _reference(given: str | Path | SequenceBlock, protein: bool) -> Reference:
    if isinstance(given, SequenceBlock):
        block = given
    else:
        with open_sequences(given) as source:
            block = concatenate_blocks(list(source.blocks()))
    check_kind(block, "protein" if protein else "dna", name="the reference")
    return Reference(block, protein=protein)


def _record(each: GeneratedSequence, near: float) -> str:
    lines = textwrap.wrap(each.sequence, _LINE)
    return "\n".join([f">{each.name} {each.description(near)}", *lines, ""])
