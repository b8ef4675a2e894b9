"""The choices of fitting an annotator of sequences, for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass

from biolm.adapters.sequences import Policy, check_policy
from biolm.errors import ConfigError
from biolm.tasks.annotate.settings import METHODS, FitSettings

__all__ = ["FEATURES", "SPLITS", "SequenceFitSettings"]

FEATURES = ("joint", "embedding", "kmers")
SPLITS = ("clusters", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFitSettings:
    """Choices of fitting an annotator of sequences; those of cells that mean the same have the same names.

    Parameters
    ----------
    method, leave_out, test_share, neighbours, reject, epochs, rate
        As of :class:`~biolm.tasks.annotate.settings.FitSettings`.
    features
        What ``linear`` reads: ``embedding`` of the model alone, ``kmers`` alone (of residues the letters
        round each), or ``joint``, both.
    numbers
        Learn numbers (regression), not classes.
    per_residue
        Each residue or base has a label of its own.
    split
        What is held out: whole ``clusters`` of similar sequences, or a ``random`` share, which near-copies
        make look better than it is.
    identity
        Sequences at least so alike share a cluster; by default 0.5 of residues and 0.8 of bases.
    batch
        Column of the labels to hold out whole, such as a species, in place of clusters.
    letters
        What is done with letters that the model does not know; see
        :mod:`biolm.adapters.sequences.reading`.
    max_rows
        Most sequences (residues) that are used; of larger sets a seeded sample.
    pool, batch_tokens, device, seed, overwrite
        As of :func:`biolm.embed`.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    method: str = "linear"
    features: str = "joint"
    numbers: bool = False
    per_residue: bool = False
    split: str = "clusters"
    identity: float | None = None
    batch: str | None = None
    letters: Policy = "unknown"
    leave_out: tuple[str, ...] = ()
    test_share: float = 0.2
    max_rows: int = 20_000
    neighbours: int = 10
    reject: float = 0.05
    epochs: int = 10
    rate: float | None = None
    pool: str | None = None
    batch_tokens: int = 16_384
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, offered in (("method", METHODS), ("features", FEATURES), ("split", SPLITS)):
            value = getattr(self, name)
            if value not in offered:
                raise ConfigError(f"{name} '{value}' is not one of {', '.join(offered)}")
        check_policy(self.letters)
        if self.max_rows < 1:
            raise ConfigError(f"max rows must be at least 1, not {self.max_rows}")
        if self.numbers and self.method == "knn":
            raise ConfigError("knn votes for classes; learn numbers by linear, head, lora or full")
        if self.per_residue and self.pool is not None:
            raise ConfigError("per_residue gives every letter its vector, so it takes no pool; choose one")
        _ = self.classifier

    @property
    def classifier(self) -> FitSettings:
        """The same as settings of classifiers of cells, where k-mers take the place of expression."""
        return FitSettings(
            method=self.method,
            features="expression" if self.features == "kmers" else self.features,
            leave_out=self.leave_out,
            test_share=self.test_share,
            neighbours=self.neighbours,
            reject=self.reject,
            epochs=self.epochs,
            rate=self.rate,
            pool=self.pool,
            batch_tokens=self.batch_tokens,
            device=self.device,
            seed=self.seed,
        )
