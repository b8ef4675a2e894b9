"""How unsure a model of DNA is along a sequence: the entropy of what it expects next, base by base.

Dimensions: ``t`` bases of a region · ``v`` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import check_kind
from biolm.common_options import Device, Overwrite, Precision, Progress
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.sequences import SequenceBlock, SequenceStore
from biolm.jobs.precision import for_scores
from biolm.options import Option, check_options
from biolm.progress import progress
from biolm.report.picture import blank_figure, picture_format, save_figure
from biolm.tasks.variants.genome import open_reference

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["EntropySettings", "EntropySummary", "entropy", "entropy_file"]

_REGION = re.compile(r"(?P<name>.+?)(?::(?P<start>[\d,]+)-(?P<end>[\d,]+))?")
_LOGITS = 1 << 24  # numbers of logits that are held at a time
_POINTS = 4000  # bases that a picture tells apart


@dataclass(frozen=True, kw_only=True)
class EntropySettings:
    """Choices of a job.

    Parameters
    ----------
    region
        ``contig`` or ``contig:start-end``, from 1, both ends included; the only record by default.
    picture
        Where to draw the curve.
    batch_tokens
        Bases read at a time; the model goes on from its state, so the result is that of one pass.
    device, precision
        As of :class:`~biolm.models.model.EmbedOptions`; ``auto`` is float32.
    overwrite, progress
        Whether existing outputs may be replaced; draw a bar on a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    region: Annotated[
        str | None, Option(help="contig or contig:start-end, from 1.", shown="the only record")
    ] = None
    picture: Annotated[
        Path | None, Option(help="Curve: .png, .svg or .pdf.", shown="none", panel="Output")
    ] = None
    batch_tokens: Annotated[int, Option(help="Bases read at a time.", min=1, panel="Run")] = 16_384
    device: Device = "auto"
    precision: Precision = "float32"
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropySummary:
    """What a job did: the file, the contig and its bases from 0, and the mean entropy in bits."""

    output: Path
    contig: str
    start: int
    end: int
    mean: float


def entropy(
    model: SequenceModel, letters: str, settings: EntropySettings | None = None
) -> NDArray[np.float32]:
    """Entropy ``(t,)`` in nats of the prediction that a causal model makes at each base, of the next one.

    Over the whole vocabulary, as the authors of Evo 2 define it; where a begin token stands in front, its own
    prediction is left out.

    Parameters
    ----------
    model
        A causal model of DNA with one token a base.
    letters
        The sequence.
    settings
        How the model is run.

    Raises
    ------
    ConfigError
        If the model is not causal, has no token head, or reads several bases as one token.
    InputError
        If the sequence is longer than the model, or is none of DNA.
    """
    settings = EntropySettings() if settings is None else settings
    _check_model(model)
    block = SequenceBlock.of([letters])
    check_kind(block, model.kind, name="the region")
    ids = model.tokenize(block).ids
    if model.max_length is not None and len(ids) > model.max_length:
        raise InputError(
            f"the region has {len(ids):,} tokens but model {model.name} reads at most {model.max_length:,}; "
            "give a shorter one"
        )
    before, after = model.preprocessor.special
    # One pass without windows: each base is predicted from everything before it.
    values = np.concatenate(list(_pieces(model, ids, settings)))
    return values[before : len(values) - after]


def _pieces(
    model: SequenceModel, ids: NDArray[np.int32], settings: EntropySettings
) -> Iterator[NDArray[np.float32]]:
    import torch

    from biolm.batch import Batch
    from biolm.models.model import EmbedOptions
    from biolm.models.running import pick_device, state_pieces

    core, device = model.core, pick_device(settings.device)
    core.to(device)
    options = EmbedOptions(batch_tokens=settings.batch_tokens, precision=for_scores(settings.precision))
    batch = Batch.from_padded(torch.from_numpy(ids.astype(np.int64))[None]).to(device)
    step = max(1, _LOGITS // model.config.vocab_size)
    with (
        torch.inference_mode(),
        progress("reading", len(ids), show=settings.progress, unit="bases") as advance,
    ):
        for states in state_pieces(core, batch, -1, options):
            for part in torch.split(states, step):
                assert core.head is not None
                logits = core.head(part, core.embeddings.token.weight).float()
                yield torch.special.entr(logits.softmax(-1)).sum(-1).cpu().numpy()
                advance(len(part))


def entropy_file(
    path: str | Path, output: str | Path, model: str | Path | SequenceModel, settings: EntropySettings
) -> EntropySummary:
    """Write the entropy along a region as bedGraph, in bits, and draw it.

    The value of a base is the entropy of the prediction made there, of the next base.

    Parameters
    ----------
    path
        FASTA, or a store that ``biolm pack`` built.
    output
        ``.bedgraph`` or ``.bg``.
    model
        Folder of a checkpoint, or a loaded model.
    settings
        Choices of the job.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used.
    """
    from biolm.jobs.bind import sequence_model

    target = Path(output)
    if target.suffix not in (".bedgraph", ".bg"):
        raise ConfigError(f"{target} names no format for values along a genome; use .bedgraph or .bg")
    for each in (target, settings.picture):
        if each is not None:
            refuse_existing(each, overwrite=settings.overwrite)
    if settings.picture is not None:
        picture_format(settings.picture)
    reader = sequence_model(model)
    with open_reference(path) as store:
        contig, start, end = _region(store, settings.region, str(path))
        bases = store.window(contig, start, end).tobytes().decode("ascii")
        bits = entropy(reader, bases, settings) / np.float32(np.log(2))
    with (
        replacing(target, overwrite=settings.overwrite) as temporary,
        temporary.open("w", encoding="ascii") as file,
    ):
        file.write(f'track type=bedGraph name="{reader.name} entropy (bits)"\n')
        for place, value in enumerate(bits.tolist(), start):
            file.write(f"{contig}\t{place}\t{place + 1}\t{value:.5f}\n")
    if settings.picture is not None:
        _draw(bits, contig, start, reader.name, settings.picture, overwrite=settings.overwrite)
    return EntropySummary(output=target, contig=contig, start=start, end=end, mean=float(bits.mean()))


def _check_model(model: SequenceModel) -> None:
    if not model.config.causal or model.config.head != "linear":
        raise ConfigError(f"model {model.name} does not predict the next base; use a decoder, such as Evo 2")
    if model.kind == "protein" or not getattr(model.tokenizer, "one_to_one", False):
        raise ConfigError(
            f"model {model.name} has no token for each base; use one of single bases, such as Evo 2"
        )


def _region(store: SequenceStore, region: str | None, label: str) -> tuple[str, int, int]:
    """Name, start from 0 and end."""
    if region is None:
        if len(store.names) != 1:
            raise InputError(f"{label} has {len(store.names)} records; choose one with `region`")
        return store.names[0], 0, int(store.lengths[0])
    match = _REGION.fullmatch(region)
    assert match is not None
    name = store.names[store.row(match["name"])]
    length = int(store.lengths[store.row(name)])
    if match["start"] is None:
        return name, 0, length
    start, end = (int(match[part].replace(",", "")) for part in ("start", "end"))
    if not 1 <= start <= end <= length:
        raise InputError(
            f"region {region} does not lie in {name}, which has {length:,} bases from 1; correct it"
        )
    return name, start - 1, end


def _draw(
    bits: NDArray[np.float32], contig: str, start: int, name: str, target: Path, *, overwrite: bool
) -> None:
    """A curve; of more bases than it has points, means with the range behind."""
    width = -(-len(bits) // _POINTS)
    starts = np.arange(0, len(bits), width)
    counts = np.diff(np.append(starts, len(bits)))
    # A picture has fewer dots than a contig bases; drawn one over another they would show the last only.
    means = np.add.reduceat(bits, starts) / counts
    places = start + 1 + starts + counts / 2 - 0.5
    figure = blank_figure(9, 2.4)
    axis = figure.subplots()
    if width > 1:
        low, high = np.minimum.reduceat(bits, starts), np.maximum.reduceat(bits, starts)
        axis.fill_between(places, low, high, color="#c8d6e5", linewidth=0)
    axis.plot(places, means, color="#1f4e79", linewidth=0.8)
    axis.set_xlabel(f"base of {contig}")
    axis.set_ylabel("entropy (bits)")
    axis.set_title(f"{name}: uncertainty about the next base", fontsize=9, loc="left")
    save_figure(figure, target, overwrite=overwrite)
