"""``precision='auto'``: float32, or bfloat16 where the CPU multiplies it and the vectors stay the same.

Dimensions: ``n`` rows that are compared · ``d`` width of the embedding.

The decision is made once for a job, on its first rows, and recorded: a job that goes on from an interrupted
one takes the decision of that. Shards take none, since machines could decide differently.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from biolm.common_options import AUTO
from biolm.errors import ConfigError, InputError
from biolm.progress import log

__all__ = ["Choice", "check_precision", "decide", "decided", "for_scores", "settled"]

ENOUGH = 0.9999
"""Smallest cosine between the vectors of a row in both precisions at which they count as the same."""
ROWS = 64
"""Rows of the first block that are compared: more would take longer than bfloat16 saves on small files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What ``auto`` decided.

    Parameters
    ----------
    precision
        ``float32`` or ``bfloat16``.
    reason
        Why, as a sentence.
    rows
        How many rows were compared.
    cosine
        The smallest cosine of their vectors in both; None where none were compared.
    """

    precision: str
    reason: str
    rows: int = 0
    cosine: float | None = None

    @classmethod
    def of_unfinished(cls, output: Path) -> Choice | None:
        """What the interrupted job of this output decided; None where there is none."""
        try:
            record = json.loads((output.with_name(f"{output.name}.partial") / "job.json").read_bytes())
            # A job over several files has the facts of each under its number.
            choice = cls(**record.get("0", record)["options"]["precision_auto"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return choice if choice.precision in ("float32", "bfloat16") else None


class Job(Protocol):
    """Rows and a model that fit each other, as :class:`biolm.jobs.modality.Embedding` has them."""

    @property
    def model(self) -> Any:
        """The loaded model."""
        ...

    @property
    def settings(self) -> Any:
        """The user's choices."""
        ...

    def blocks(self, first: int, last: int) -> Any:
        """Some blocks of the source."""
        ...

    def compute(self, block: Any) -> Any:
        """Of one block: ``vectors`` and more."""
        ...

    def with_settings(self, settings: Any, choice: Choice | None = None) -> Self:
        """The same rows and model with other choices."""
        ...


J = TypeVar("J", bound=Job)


def decided(choice: Choice | None) -> dict[str, Any]:
    """What ``auto`` decided, for records; nothing where it was not asked."""
    if choice is None:
        return {}
    return {"precision_auto": {name: value for name, value in asdict(choice).items() if value is not None}}


def check_precision(model: Any, settings: Any) -> None:
    """Refuse a precision that the model does not compute in.

    Parameters
    ----------
    model
        The loaded model; ``precisions`` names what it offers, and a model that does not say is not asked.
    settings
        Choices of the job: ``precision``.

    Raises
    ------
    ConfigError
        If it offers others only.
    """
    offered = getattr(model, "precisions", None)
    if offered is None or settings.precision in (AUTO, *offered):
        return
    if tuple(offered) == ("float32",):
        raise ConfigError(
            f"model {model.name} runs in float32 alone, so it takes no `precision`; leave it out"
        )
    raise ConfigError(f"`precision` of model {model.name} is one of {', '.join(offered)}")


def settled(job: J, *, resume: Path | None = None) -> J:
    """The job with ``auto`` decided; any other job as it is.

    Parameters
    ----------
    job
        Rows and model.
    resume
        Output of the interrupted job that this one goes on from.

    Raises
    ------
    ConfigError
        If the kind of data cannot be embedded twice.
    """
    settings = job.settings
    if settings.precision != AUTO:
        return job
    if not hasattr(job, "with_settings"):
        raise ConfigError(f"`precision` of model {job.model.name} is chosen by you; give float32")
    # What was decided holds for the rest: vectors of one file are of one precision.
    choice = None if resume is None else Choice.of_unfinished(resume)
    choice = decide(job) if choice is None else choice
    log.info("precision %s: %s", choice.precision, choice.reason)
    return job.with_settings(replace(settings, precision=choice.precision), choice)


def decide(job: Job) -> Choice:
    """Which precision to run a job in; the first rows are embedded in both where that is in question."""
    model = job.model
    if "bfloat16" not in getattr(model, "precisions", ("bfloat16",)):
        return Choice(precision="float32", reason=f"model {model.name} runs in float32 alone")
    from biolm.core.hardware import multiplies_bfloat16
    from biolm.models.running import pick_device

    device = pick_device(job.settings.device)
    if device.type != "cpu":
        return Choice(precision="float32", reason=f"auto chooses for CPUs, and this runs on {device}")
    # Emulated, bfloat16 is several times slower than float32.
    if not multiplies_bfloat16():
        return Choice(
            precision="float32", reason="this CPU has no bfloat16 instructions (AVX512-BF16 or AMX)"
        )
    exact, rounded = (_first_vectors(job, precision) for precision in ("float32", "bfloat16"))
    cosine = _least_cosine(exact, rounded)
    if cosine is None:
        return Choice(precision="float32", reason="the first rows have no vectors to compare")
    same = cosine >= ENOUGH
    least = f"of at least {ENOUGH}" if same else f"below the {ENOUGH} that bfloat16 needs"
    return Choice(
        precision="bfloat16" if same else "float32",
        reason=f"vectors of the first {len(exact):,} rows in bfloat16 and in float32 have a cosine {least} "
        f"(smallest {cosine:.6f})",
        rows=len(exact),
        cosine=round(cosine, 6),
    )


def for_scores(precision: str) -> str:
    """In place of ``auto`` float32, where results are small differences, which bfloat16 rounds away.

    Examples
    --------
    >>> for_scores("auto"), for_scores("bfloat16")
    ('float32', 'bfloat16')
    """
    return "float32" if precision == AUTO else precision


def _first_vectors(job: Job, precision: str) -> NDArray[np.float64]:
    rows = min(ROWS, job.settings.block_rows or ROWS)
    part = job.with_settings(replace(job.settings, precision=precision, block_rows=rows))
    block = next(iter(part.blocks(0, 1)), None)
    if block is None:
        return np.zeros((0, job.model.width))
    try:
        return np.asarray(part.compute(block)["vectors"], np.float64)
    except InputError:
        if precision == "float32":
            raise
        # Values that are not finite in bfloat16 alone: as different as can be.
        return np.full((1, job.model.width), np.nan)


def _least_cosine(exact: NDArray[np.float64], rounded: NDArray[np.float64]) -> float | None:
    # Empty cells have zeros in both, of which no cosine can be taken.
    kept = np.linalg.norm(exact, axis=1) > 0
    if not kept.any():
        return None
    if exact.shape != rounded.shape:
        return -1.0
    a, b = exact[kept], rounded[kept]
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (a * b).sum(1) / lengths
    return float(np.nan_to_num(cosines, nan=-1.0).min())
