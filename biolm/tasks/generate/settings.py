"""The choices of a job that makes sequences, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from biolm.common_options import Device, Overwrite, Progress, Seed
from biolm.jobs.settings import RunSettings
from biolm.options import Option, check_options, refuse_unused

__all__ = ["DIRECTIONS", "GenerateSettings"]

_SAMPLING = "Sampling"
DIRECTIONS = ("forward", "backward", "both")
"""From the first letter on, from the last letter back, and as many of each."""


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(RunSettings):
    """Choices of a job.

    Parameters
    ----------
    number
        Sequences for each prompt, and in each direction.
    max_length
        Most residues (tokens, for models of DNA in longer words) of a sequence, its prompt included.
    temperature
        Divides the logits; 0 always takes the likeliest token.
    top_k, top_p
        Sample from the ``top_k`` most likely tokens (0 for all), and from the fewest that together have
        probability ``top_p``.
    repetition_penalty
        Makes tokens that stand before less likely: logits are divided by it where positive and multiplied
        where negative; 1 for none. Decoders only.
    lineage
        Names from domain to species, separated by ``;``, put in front of every prompt as Evo 2 knows them.
    direction
        One of :data:`DIRECTIONS`; ``backward`` writes from the C end, for models trained both ways.
    steps
        Passes in which an encoder fills a sequence, the surest places first; 0 for one place a pass.
    sweeps
        Times that an encoder draws every filled place again, given all others.
    ambiguous
        Also write letters that stand for several, such as X and N, and rare ones, such as U.
    near
        Identity to a sequence of the reference from which on a sequence counts as its copy.
    letters
        What is done with prompts that hold residues or bases that the model does not know: ``error`` stops,
        ``skip`` leaves the prompt out. None is read as unknown, since it could not be written again.
    seed
        Fixes every draw. Probabilities are the same to rounding whatever the batch size.
    batch_size
        Sequences made together.
    device
        Where to compute.
    overwrite, progress
        Whether an existing output may be replaced; draw a bar on a terminal.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    unused: ClassVar = {"*": ("format",)}

    number: Annotated[int, Option(help="Sequences for each prompt.", min=1, flags=("--number", "-n"))] = 1
    max_length: Annotated[int, Option(help="Most residues of a sequence, prompt included.", min=1)] = 512
    temperature: Annotated[float, Option(help="0 always takes the likeliest.", panel=_SAMPLING)] = 1.0
    top_k: Annotated[
        int, Option(help="Sample from the k most likely tokens; 0 for all.", panel=_SAMPLING)
    ] = 0
    top_p: Annotated[float, Option(help="Sample from the fewest with this probability.", panel=_SAMPLING)] = (
        1.0
    )
    repetition_penalty: Annotated[
        float, Option(help="Over 1 makes tokens rarer that were there before.", panel=_SAMPLING)
    ] = 1.0
    lineage: Annotated[
        str | None,
        Option(help="Seven names from domain to species, by ';' (Evo 2).", shown="none", panel=_SAMPLING),
    ] = None
    direction: Annotated[
        str, Option(help="forward, backward or both (ProGen2).", choices=DIRECTIONS, panel=_SAMPLING)
    ] = "forward"
    steps: Annotated[
        int,
        Option(help="Passes in which an encoder fills in; 0 for one place a pass.", min=0, panel=_SAMPLING),
    ] = 0
    sweeps: Annotated[
        int, Option(help="Times that an encoder draws every place again.", min=0, panel=_SAMPLING)
    ] = 0
    ambiguous: Annotated[bool, Option(help="Also write letters such as X and N.", panel=_SAMPLING)] = False
    near: Annotated[
        float,
        Option(help="Identity from which on one counts as a copy.", above=0, max=1, needs=("reference",)),
    ] = 0.9
    letters: Annotated[
        Literal["error", "skip"],
        Option(
            help="Prompts with residues or bases that the model does not know: error, or skip the prompt.",
            choices=("error", "skip"),
            needs=("prompts", "prompt"),
            panel="Sequences",
        ),
    ] = "error"
    seed: Seed = 0
    batch_size: Annotated[int, Option(help="Sequences made together.", min=1, panel="Run")] = 32
    device: Device = "auto"
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)
        self.check_run()
        refuse_unused(self, "sequences")

    def sampling(self) -> dict[str, Any]:
        """What :class:`biolm.core.SamplingOptions` has in common with these."""
        names = ("temperature", "top_k", "top_p", "repetition_penalty", "seed", "batch_size")
        return {name: getattr(self, name) for name in names}
