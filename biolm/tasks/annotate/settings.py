"""The choices of fitting and using an annotator, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass

from biolm.errors import ConfigError
from biolm.extras import need
from biolm.jobs.settings import CellSettings, RunSettings, check_key

__all__ = ["FEATURES", "METHODS", "TRAINED", "FitSettings", "PredictSettings"]

TRAINED = ("head", "lora", "full")
METHODS = ("linear", "knn", *TRAINED)
FEATURES = ("joint", "embedding", "expression")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings(CellSettings):
    """Choices of fitting an annotator, beside those of :class:`~biolm.jobs.settings.CellSettings`.

    Parameters
    ----------
    method
        ``linear`` or ``knn`` on frozen vectors; ``head``, ``lora`` or ``full`` train the model.
    features
        What ``linear`` reads: ``embedding`` of the model alone, log-normalised ``expression`` alone, or
        ``joint``, both.
    batch
        Column of donors, plates or laboratories: none of them lies on both sides of a split.
    leave_out
        Labels that are no cell type, such as ``other``; their cells are not used.
    test_share
        Share of the cells (of the batches, where given) that the report is measured on.
    max_cells
        Most cells that are used; of larger sets a seeded sample within each type.
    neighbours
        Neighbours that ``knn`` asks.
    reject
        Share of held-out cells of known types that may be called unknown; it sets the threshold.
    epochs
        Most passes over the cells of ``head``, ``lora`` and ``full``; training stops early.
    rate
        Their learning rate; by default one that suits the method.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    method: str = "linear"
    features: str = "joint"
    batch: str | None = None
    leave_out: tuple[str, ...] = ()
    test_share: float = 0.2
    max_cells: int = 20_000
    neighbours: int = 10
    reject: float = 0.05
    epochs: int = 10
    rate: float | None = None

    def __post_init__(self) -> None:
        CellSettings.__post_init__(self)
        for name, value, offered in (
            ("method", self.method, METHODS),
            ("features", self.features, FEATURES),
        ):
            if value not in offered:
                raise ConfigError(f"{name} '{value}' is not one of {', '.join(offered)}")
        if self.method in TRAINED:
            need(f"method {self.method}", "train", "yaml", "pytorch_lightning")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"the test share lies between 0 and 1, not at {self.test_share}")
        if not 0 <= self.reject < 1:
            raise ConfigError(f"the share to reject lies from 0 to below 1, not at {self.reject}")
        for name in ("max_cells", "neighbours", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name.replace('_', ' ')} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings(CellSettings, RunSettings):
    """Choices of using an annotator, beside those of :class:`~biolm.jobs.settings.CellSettings`.

    Parameters
    ----------
    key
        Name of the first label's result; ``biolm_<label>`` by default.
    reject
        Cells less certain than the annotator's threshold are unknown; False names every cell.
    ontology
        File of cell types and their ancestors (OBO, obographs JSON, or a table of child and parent).
    coarse
        Terms of the ontology to roll the first label up to, in ``obs[key + "_coarse"]``.

    Raises
    ------
    ConfigError
        If one of ``ontology`` and ``coarse`` is given without the other.
    """

    key: str | None = None
    reject: bool = True
    ontology: str | None = None
    coarse: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        CellSettings.__post_init__(self)
        check_key(self.key)
        self.check_run()
        if (self.ontology is None) != (not self.coarse):
            raise ConfigError("to name cells coarsely give an ontology and the coarse types (--coarse)")
