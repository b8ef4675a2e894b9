"""Several objectives in one run: a weighted sum, with one forward pass for each different input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.objectives.base import (
    Chain,
    Criterion,
    LabelKind,
    Metadata,
    Objective,
    Plain,
    Prepared,
    Score,
    Settings,
    Sum,
    View,
)
from biolm.objectives.baseline import Baseline
from biolm.objectives.draws import Draw
from biolm.objectives.registry import label_kinds, make, split_part
from biolm.settings import read_value

__all__ = ["Weighted", "WeightedSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSettings(Settings):
    """Settings of :class:`Weighted`.

    Parameters
    ----------
    parts
        Objectives by a name of one's own; each with its ``objective`` (the registered name; by default its
        own name), its ``weight`` (1 by default) and its settings beside them. ``input_of`` names another part
        whose input this one masks parts of, such as masked tokens on the panels of a contrast.
    """

    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("weighted needs at least one objective under parts")


class Weighted(Criterion):
    """Weighted sum of objectives; those that want the same input share a forward pass.

    Objectives that read any input (such as a classifier) ride on the first one that makes its own.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> config = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="linear")
    >>> parts = {"masked_tokens": {"rate": 0.3}, "all": {"objective": "masked_tokens", "weight": 0.1}}
    >>> Weighted(Metadata(core=config, mask_id=1), WeightedSettings(parts=parts)).weights
    {'masked_tokens': 1.0, 'all': 0.1}
    """

    Settings = WeightedSettings

    def __init__(self, metadata: Metadata, settings: WeightedSettings) -> None:
        super().__init__(metadata, settings)
        self.weights: dict[str, float] = {}
        self.below: dict[str, str] = {}
        # A list, as a dictionary of modules refuses names such as "type" or "cell.type".
        self.parts = nn.ModuleList()
        for name, part in settings.parts.items():
            kind, chosen = split_part(name, part)
            # YAML gives 1e-3 as text.
            weight = read_value(float, part.get("weight", 1.0), f"the weight of objective {name}")
            if not 0 < weight < float("inf"):
                raise ConfigError(f"the weight of objective {name} must be a number above 0, not {weight!r}")
            self.weights[name] = weight
            if "input_of" in part:
                self.below[name] = part["input_of"]
            built = make(kind, metadata, chosen)
            if not isinstance(built, Objective):
                raise ConfigError(f"part {name} is a sum itself; name its objectives as parts of this one")
            self.parts.append(built)
        parts = self.parts_by_name()
        self.uses_head = any(part.uses_head for part in parts.values())
        self.reads_counts = any(part.reads_counts for part in parts.values())
        self.keeps_dropout = any(part.keeps_dropout for part in parts.values())
        for name, below in self.below.items():
            self._check_below(name, below)

    def _check_below(self, name: str, below: str) -> None:
        """Refuse an input that would change what another part asks for, or how many examples it has."""
        parts = self.parts_by_name()
        lower = parts[below].view if below in parts and below not in self.below else None
        if lower is None:
            raise ConfigError(
                f"part {name} has input_of {below!r}, which must be a part that makes its own input"
            )
        if lower.asks:
            raise ConfigError(
                f"part {name} has input_of {below!r}, which asks for tokens itself; only a part such as "
                "panel_contrast, whole_cell or pair_order can be below another"
            )
        upper = parts[name].view
        if upper is not None and not upper.stacks:
            raise ConfigError(
                f"part {name} makes other examples of those of {below!r}; only a part that masks tokens or "
                "values can have input_of"
            )

    @property
    def reads_pairs(self) -> bool:
        """If any part does."""
        return any(part.reads_pairs for part in self.parts_by_name().values())

    @property
    def narrowed(self) -> tuple[bool, ...]:
        """For each group, if all of its parts read the predicted tokens alone."""
        parts = self.parts_by_name()
        return tuple(all(parts[name].reads_rows for name in names) for _, names in self.groups())

    @classmethod
    def label_kinds(cls, settings: WeightedSettings) -> dict[str, LabelKind]:
        """Label columns of all parts.

        Raises
        ------
        ConfigError
            If one part reads a column as classes and another as numbers.
        """
        kinds: dict[str, LabelKind] = {}
        for name, part in settings.parts.items():
            for column, kind in label_kinds(*split_part(name, part)).items():
                if kinds.setdefault(column, kind) != kind:
                    raise ConfigError(
                        f"the label column {column!r} is read as classes and as numbers; "
                        "copy it under another name"
                    )
        return kinds

    def part(self, name: str) -> Objective:
        """The objective of that name."""
        return self.parts_by_name()[name]

    def parts_by_name(self) -> dict[str, Objective]:
        """All objectives."""
        return dict(zip(self.settings.parts, self.parts, strict=True))

    def groups(self) -> list[tuple[View, list[str]]]:
        """The different inputs, and the names of the parts that read each."""
        parts = self.parts_by_name()
        views = {name: part.view for name, part in parts.items()}
        for name, below in self.below.items():
            lower, upper = parts[below].view, parts[name].view
            assert lower is not None
            views[name] = views[below] = lower if upper is None else Chain(lower, upper)
        groups: dict[View, list[str]] = {}
        for name, view in views.items():
            if view is not None:
                groups.setdefault(view, []).append(name)
        # Objectives that take any input share the first one, so that no pass is run for them alone.
        entries = list(groups.items()) or [(Plain(), [])]
        entries[0][1].extend(name for name, view in views.items() if view is None)
        return entries

    def viewed(self, batch: Batch, draw: Draw, labels: dict[str, Tensor]) -> Prepared:
        """One input for each group; the first holds the others."""
        seeds = draw.seeds("score")
        parts, built = self.parts_by_name(), []
        for view, names in self.groups():
            built.append(replace(view(batch, draw), labels=labels, seeds=seeds))
            for name in names:
                parts[name].check(built[-1])
        return replace(built[0], others=tuple(built[1:]))

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Those of the parts, each on its own input."""
        parts, inputs = self.parts_by_name(), (prepared, *prepared.others)
        return {
            f"{name}/{key}": count
            for (_, names), given in zip(self.groups(), inputs, strict=True)
            for name in names
            for key, count in parts[name].counts(given).items()
        }

    def predictions(self, output: Output, prepared: Prepared) -> dict[str, Tensor]:
        """Those of all parts."""
        parts = self.parts_by_name().values()
        return {key: value for part in parts for key, value in part.predictions(output, prepared).items()}

    def baseline(self) -> Baseline:
        """Those of the parts."""
        return _Baselines(self)

    def run(self, core: Transformer, prepared: Prepared) -> Score:
        """One forward pass a group, or two where one part is validated with dropout and others without.

        Terms and metrics are named ``part/name``.
        """
        parts = self.parts_by_name()
        terms: dict[str, Sum] = {}
        metrics: dict[str, Sum] = {}
        weights: dict[str, float] = {}
        inputs = (prepared, *prepared.others)
        for (_, names), given, alone in zip(self.groups(), inputs, self.narrowed, strict=True):
            # The head is run if any part of the group reads it.
            leader = next((parts[name] for name in names if parts[name].uses_head), parts[names[0]])
            passes: dict[bool, Output] = {}
            for name in names:
                dropout = parts[name].keeps_dropout and not self.training
                if dropout not in passes:
                    passes[dropout] = leader.forward_pass(core, given, rows_alone=alone, dropout=dropout)
                parts[name].step = self.step
                score = parts[name].score(core, passes[dropout], given)
                terms |= {f"{name}/{key}": term for key, term in score.terms.items()}
                metrics |= {f"{name}/{key}": metric for key, metric in score.metrics.items()}
                weights |= {
                    f"{name}/{key}": self.weights[name] * score.weights.get(key, 1.0) for key in score.terms
                }
        return Score(terms, weights, metrics)


class _Baselines(Baseline):
    """Baselines of the parts, each on its own input; named ``part/name``."""

    def __init__(self, whole: Weighted) -> None:
        groups = [names for _, names in whole.groups()]
        baselines = (
            (group, name, whole.part(name).baseline()) for group, names in enumerate(groups) for name in names
        )
        self.found = [(group, name, baseline) for group, name, baseline in baselines if baseline is not None]

    def update(self, prepared: Prepared) -> None:
        """Count a training batch."""
        inputs = (prepared, *prepared.others)
        for group, _, baseline in self.found:
            baseline.update(inputs[group])

    def report(self, prepared: Prepared) -> dict[str, Tensor]:
        """Losses of guessing."""
        inputs = (prepared, *prepared.others)
        return {
            f"{name}/{key}": value
            for group, name, baseline in self.found
            for key, value in baseline.report(inputs[group]).items()
        }
