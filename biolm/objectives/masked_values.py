"""Masked values: mask the expression of some genes, not their names, and predict it (scGPT, scFoundation).

Dimensions: ``b`` cells · ``t`` tokens · ``m`` masked values · ``d`` width · ``k`` bins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.objectives.base import LabelKind, Metadata, Objective, Prepared, Score, Settings, View
from biolm.objectives.baseline import Baseline, GeneMeans, TokenFrequencies
from biolm.objectives.draws import Draw, uniform
from biolm.objectives.masked_tokens import score_tokens
from biolm.objectives.masking import choose_tokens, documents, is_special
from biolm.objectives.value_heads import Condition, TokenValues
from biolm.objectives.value_losses import check_loss, count_values, score_values
from biolm.settings import check_fraction, check_least

__all__ = ["MaskValues", "MaskedValues", "MaskedValuesSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingSettings(Settings):
    """How values are masked.

    Parameters
    ----------
    rates
        Fractions of values that are masked; each example draws one of them (scGPT: 0.25, 0.5, 0.75).
    zero_rates
        The same for zero values; empty for no difference (scFoundation: 0.3 and 0.03; scBERT masks no zeros).
    mask_share, random_share
        Of the masked values, those that become ``mask_value`` and those that become the value of another
        token of the cell; the others stay as they are.
    mask_value
        What a masked value becomes; a number no gene can have (a bin of its own where values are bins).
    exact
        Mask ``round(rate * tokens)`` of each cell, at least one; otherwise a coin for each.
    private
        No other token sees a masked one (scGPT's attention mask of pretraining): the others are the prompt,
        and the model can then generate, see :func:`biolm.objectives.generate_values.generate_values`.
    """

    rates: tuple[float, ...] = (0.4,)
    zero_rates: tuple[float, ...] = ()
    mask_share: float = 1.0
    random_share: float = 0.0
    mask_value: float = -1.0
    exact: bool = True
    private: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(self.rates))
        object.__setattr__(self, "zero_rates", tuple(self.zero_rates))
        if not self.rates:
            raise ConfigError("rates needs at least one share")
        for rate in (*self.rates, *self.zero_rates):
            check_fraction("rates and zero_rates", rate)
        check_fraction("mask_share", self.mask_share)
        check_fraction("random_share", self.random_share)
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ConfigError("mask_share and random_share together must be at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedValuesSettings(MaskingSettings):
    """Settings of :class:`MaskedValues`, beside how values are masked.

    Parameters
    ----------
    loss
        ``mse``, ``mae``, ``huber``; or ``cross_entropy`` over ``bins`` classes.
    bins
        Classes of ``cross_entropy``.
    zero_probability
        Also predict whether the value is zero, by its probability (scGPT's explicit zero probability).
    zero_weight
        Weight of that term.
    nonzero_only
        Leave true zeros out of the value's loss.
    condition
        Label column whose vector the head reads beside the hidden state (scGPT's batch labels).
    """

    loss: str = "mse"
    bins: int = 0
    zero_probability: bool = False
    zero_weight: float = 1.0
    nonzero_only: bool = False
    condition: str | None = None

    def __post_init__(self) -> None:
        # A dataclass with slots is made anew, which leaves a bare super() pointing at the old class.
        MaskingSettings.__post_init__(self)
        check_least(0, zero_weight=self.zero_weight)
        if self.loss == "cross_entropy":
            if self.bins < 2 or self.zero_probability:
                raise ConfigError("loss cross_entropy needs bins of at least 2, and no zero_probability")
        else:
            check_loss(self.loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskValues(View):
    """Mask values; fields as in :class:`MaskingSettings`, and the special tokens."""

    rates: tuple[float, ...]
    zero_rates: tuple[float, ...]
    mask_share: float
    random_share: float
    mask_value: float
    exact: bool
    private: bool
    special_ids: tuple[int, ...]
    asks: ClassVar[bool] = True
    stacks: ClassVar[bool] = True

    def __call__(self, batch: Batch, draw: Draw) -> Prepared:
        """Choose values and replace them."""
        if batch.values is None:
            raise InputError("masked values need tokens with values; use an adapter of bins or expression")
        allowed = ~is_special(batch.ids, self.special_ids)
        chosen = self._choose(batch, allowed, draw)
        rows = chosen.nonzero().flatten()  # (m,)
        values = batch.values.clone()
        values[rows] = self._replaced(batch, rows, allowed, draw)
        return Prepared(
            batch=replace(batch, values=values, private=chosen if self.private else batch.private),
            original=batch,
            keys=draw.keys,
            rows=rows,
            targets=batch.values[rows],
        )

    def _choose(self, batch: Batch, allowed: Tensor, draw: Draw) -> Tensor:
        seeds = draw.seeds("choose")
        which = uniform(draw.seeds("rate"), 0)
        if not self.zero_rates:
            return choose_tokens(batch, seeds, allowed, _one_of(self.rates, which), exact=self.exact)
        assert batch.values is not None
        zero = batch.values == 0
        some = choose_tokens(batch, seeds, allowed & ~zero, _one_of(self.rates, which), exact=self.exact)
        more = choose_tokens(batch, seeds, allowed & zero, _one_of(self.zero_rates, which), exact=self.exact)
        return some | more

    def _replaced(self, batch: Batch, rows: Tensor, allowed: Tensor, draw: Draw) -> Tensor:
        """``(m,)`` what the masked values become."""
        assert batch.values is not None
        document, place = documents(batch)[rows], batch.positions[rows]
        fate = uniform(draw.seeds("become")[document], place)
        chance = uniform(draw.seeds("random")[document], place)
        other = batch.offsets.long()[document] + (chance * batch.lengths[document]).long()
        swapped = (fate < self.mask_share + self.random_share) & allowed[other]
        values = torch.where(swapped, batch.values[other], batch.values[rows])
        masked = torch.full_like(values, self.mask_value)
        return torch.where(fate < self.mask_share, masked, values)


def _one_of(rates: tuple[float, ...], chance: Tensor) -> Tensor:
    """``(b,)`` one of the rates, by a number in [0, 1)."""
    return torch.tensor(rates, dtype=torch.float64, device=chance.device)[(chance * len(rates)).long()]


class MaskedValues(Objective):
    """Loss of the masked values, mean over them.

    The core's own value head is used where it has one and neither zeros nor a condition are asked for;
    otherwise the objective brings a head.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> config = CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, head="value",
    ...                     value_encoder="continuous")
    >>> objective = MaskedValues(Metadata(core=config), MaskedValuesSettings(rates=[0.5]))
    >>> values = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> batch = Batch.from_padded(torch.tensor([[3, 4, 5, 6]]), values=values)
    >>> int((objective.prepare(batch, torch.tensor([5]), epoch=0, seed=0).batch.values == -1).sum())
    2
    """

    Settings = MaskedValuesSettings
    reads_rows = True

    def __init__(self, metadata: Metadata, settings: MaskedValuesSettings) -> None:
        super().__init__(metadata, settings)
        core, s = metadata.core, settings
        require_values(metadata, "masked_values", s.mask_value)
        self.condition = condition_of(metadata, s.condition)
        width = 0 if self.condition is None else core.d_model
        self.uses_head = (
            core.head == "value" and not width and not s.zero_probability and s.loss != "cross_entropy"
        )
        self.head: nn.Module | None = None
        if s.loss == "cross_entropy":
            self.head = nn.Linear(core.d_model + width, s.bins)
        elif not self.uses_head:
            self.head = TokenValues(core, condition=width, zero=s.zero_probability)

    @property
    def view(self) -> View:
        """Some values masked."""
        s: MaskedValuesSettings = self.settings
        return mask_values(s, self.metadata)

    def check(self, prepared: Prepared) -> None:
        """For ``cross_entropy`` values must be bins.

        Raises
        ------
        InputError
            If one is none of the ``bins``.
        """
        s: MaskedValuesSettings = self.settings
        assert prepared.targets is not None
        if s.loss != "cross_entropy" or not len(prepared.targets):
            return
        for value in (prepared.targets.amin(), prepared.targets.amax()):
            if not 0 <= value < s.bins or value != value.round():
                raise InputError(
                    f"masked_values with {s.bins} bins meets the value {float(value):g}; use the adapter "
                    "bins and set bins to its n_bins"
                )

    @classmethod
    def label_kinds(cls, settings: MaskedValuesSettings) -> dict[str, LabelKind]:
        """The condition's."""
        return {} if settings.condition is None else {settings.condition: "classes"}

    def counts(self, prepared: Prepared) -> dict[str, float]:
        """Masked values."""
        assert prepared.targets is not None
        s: MaskedValuesSettings = self.settings
        if s.loss == "cross_entropy":
            return {"loss": float(len(prepared.targets))}
        return count_values(prepared.targets, nonzero_only=s.nonzero_only, zero=s.zero_probability)

    def baseline(self) -> Baseline:
        """Mean value of each gene; frequencies of the bins for ``cross_entropy``."""
        s: MaskedValuesSettings = self.settings
        if s.loss == "cross_entropy":
            return TokenFrequencies(s.bins)
        return GeneMeans(self.metadata.core.vocab_size, s.loss, nonzero_only=s.nonzero_only)

    def score(self, core: Transformer, output: Output, prepared: Prepared) -> Score:  # noqa: ARG002
        """Loss of the masked values."""
        assert prepared.rows is not None
        assert prepared.targets is not None
        s: MaskedValuesSettings = self.settings
        if self.uses_head:
            assert output.logits is not None
            return score_values(output.logits, prepared.targets, kind=s.loss, nonzero_only=s.nonzero_only)
        states = output.states(prepared.rows)  # (m, d)
        condition = None
        if self.condition is not None:
            document = documents(prepared.batch)[prepared.rows]
            condition = self.condition(prepared.example_label(str(s.condition)))[document]  # (m, c)
        if s.loss == "cross_entropy":
            x = states if condition is None else torch.cat((states, condition), -1)
            assert self.head is not None
            return score_tokens(self.head(x), prepared.targets.long())
        predicted, logit = self._values(states, condition)
        return score_values(
            predicted,
            prepared.targets,
            logit,
            kind=s.loss,
            zero_weight=s.zero_weight,
            nonzero_only=s.nonzero_only,
        )

    def _values(self, states: Tensor, condition: Tensor | None) -> Any:
        assert self.head is not None
        return self.head(states, condition)


def mask_values(settings: MaskingSettings, metadata: Metadata) -> MaskValues:
    """The view of some settings."""
    s = settings
    return MaskValues(
        rates=s.rates,
        zero_rates=s.zero_rates,
        mask_share=s.mask_share,
        random_share=s.random_share,
        mask_value=s.mask_value,
        exact=s.exact,
        private=s.private,
        special_ids=metadata.special_ids,
    )


def require_values(metadata: Metadata, name: str, mask_value: float) -> None:
    """Refuse a core that reads no values, or has no bin for the mask.

    Raises
    ------
    ConfigError
        Naming the objective.
    """
    core = metadata.core
    if core.value_encoder not in ("bins", "continuous"):
        raise ConfigError(f"{name} needs a core that reads values (value_encoder bins or continuous)")
    if core.value_encoder == "bins" and not 0 <= mask_value < core.n_values:
        raise ConfigError(f"mask_value must be a bin in 0..{core.n_values - 1}, not {mask_value:g}")


def condition_of(metadata: Metadata, column: str | None) -> Condition | None:
    """Vectors of a label column's classes, as wide as the core.

    Raises
    ------
    ConfigError
        If the data give no classes for it.
    """
    if column is None:
        return None
    if column not in metadata.classes:
        raise ConfigError(f"there are no classes for the label column {column!r}")
    return Condition(metadata.classes[column], metadata.core.d_model, metadata.core.norm_eps)
