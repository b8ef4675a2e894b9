"""Performer attention (Choromanski et al. 2021, FAVOR+): a kernel of random features in place of the softmax.

Dimensions: ``t`` tokens · ``n`` tokens of one document · ``s`` tokens of a slice of it · ``d`` width · ``h``
heads · ``e`` head width · ``m`` random features.

Keys and values of a document become one matrix ``(m, e)`` a head, which all its queries read: time and
memory grow with the length, not with its square. With ``c = e ** -1/4`` and a projection ``P (m, e)``, the
features are

``phi_q = exp(c q P' - |c q|² / 2 - max over features) + 1e-4``
``phi_k = exp(c k P' - |c k|² / 2 - M) + 1e-4``

``M`` keeps the exponential small. It cancels but for the 1e-4, so results depend a little on whose maximum
it is: of the document, of each of its heads (performer-pytorch from 1.1), or of the whole batch (the first
release, which scBERT, CellLM and scFoundation copied; a document then depends on its batch mates).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biolm.core.attention import Context
from biolm.core.config import CoreConfig
from biolm.core.maps import MapPieces
from biolm.core.mixers import Mixer
from biolm.errors import ConfigError

__all__ = ["PERFORMER", "Performer", "PerformerOptions", "draw_projection", "features_of"]

_SOFTMAX_EPS, _RELU_EPS, _CAUSAL_EPS = 1e-4, 1e-3, 1e-6
_LARGEST = 1 << 20  # numbers of a slice's features, which stay in the cache of a processor
_LARGEST_CUDA = 1 << 26
_LARGEST_MAP = 1 << 27  # numbers of an attention map that is one tensor
_SLICE = 128  # queries of a causal slice


@dataclass(frozen=True, kw_only=True)
class PerformerOptions:
    """Of ``performer``.

    Parameters
    ----------
    features
        ``m``; 0 for ``e ln e``.
    kernel
        ``softmax``; ``relu`` (generalised attention); ``none``: no random features, softmax of queries over
        their width and of keys over the document.
    stabiliser
        Whose largest key feature is subtracted: of the ``document``, of each ``head`` of it, or of the
        ``batch``.
    scaling
        Length of the rows of the projection: 0 as of normal rows, 1 all ``sqrt(e)``.
    counted
        Keys whose ``Batch.segments`` is over 0 stand for so many padded tokens: their values are zero, and
        they are counted that often among the keys.

    Raises
    ------
    ConfigError
        For a value that is none of these.
    """

    features: int = 0
    kernel: str = "softmax"
    stabiliser: str = "document"
    scaling: int = 0
    counted: bool = False

    def __post_init__(self) -> None:
        if self.features < 0:
            raise ConfigError(f"features of performer must be at least 0, not {self.features}")
        for name, allowed in (
            ("kernel", ("softmax", "relu", "none")),
            ("stabiliser", ("document", "head", "batch")),
            ("scaling", (0, 1)),
        ):
            if getattr(self, name) not in allowed:
                shown = ", ".join(map(str, allowed))
                raise ConfigError(f"{name} of performer must be one of {shown}, not {getattr(self, name)!r}")


def features_of(width: int) -> int:
    """Random features of a head of that width, as published: ``e ln e``.

    Examples
    --------
    >>> features_of(64)
    266
    """
    return int(width * math.log(width))


def draw_projection(
    features: int, width: int, *, scaling: int = 0, generator: torch.Generator | None = None
) -> Tensor:
    """``(m, e)`` rows that are orthogonal in blocks of ``e``, as published.

    Parameters
    ----------
    features, width
        ``m`` and ``e``.
    scaling
        See :class:`PerformerOptions`.
    generator
        Of the normal numbers; the global one by default.
    """
    blocks = [torch.zeros(0, width)]
    for start in range(0, features, width):
        turned = torch.linalg.qr(torch.randn(width, width, generator=generator))[0].t()
        blocks.append(turned[: features - start])
    if scaling == 0:
        lengths = torch.randn(features, width, generator=generator).norm(dim=1)
    else:
        lengths = torch.full((features,), math.sqrt(width))
    drawn: Tensor = lengths[:, None] * torch.cat(blocks)
    return drawn


class _Keys(NamedTuple):
    """Keys and values of one document, summed: features were taken relative to ``top``."""

    values: Tensor  # (h, m, e)
    keys: Tensor  # (h, m)
    top: Tensor  # (h,)
    value_sum: Tensor  # (h, e)
    number: Tensor | float  # of keys


class Performer(nn.Module):
    """FAVOR+ attention of one layer; the projection is a buffer, saved and never redrawn by itself."""

    projection: Tensor

    def __init__(self, config: CoreConfig, layer: int, options: PerformerOptions) -> None:  # noqa: ARG002
        super().__init__()
        heads, width = self.shape = config.n_heads, config.head_dim
        self.options, self.causal = options, config.causal
        if options.counted and (config.causal or options.kernel != "softmax"):
            raise ConfigError("counted of performer needs kernel='softmax' and causal=False")
        self.query, self.key, self.value = (
            nn.Linear(config.d_model, heads * width, bias=config.qkv_bias) for _ in range(3)
        )
        self.out = nn.Linear(heads * width, config.d_model, bias=config.out_bias)
        rows = 0 if options.kernel == "none" else options.features or features_of(width)
        self.register_buffer("projection", draw_projection(rows, width, scaling=options.scaling))

    @torch.no_grad()
    def redraw(self, generator: torch.Generator | None = None) -> None:
        """Draw another projection, as performer-pytorch does every 1,000 steps of training."""
        rows, width = self.projection.shape
        self.projection.copy_(draw_projection(rows, width, scaling=self.options.scaling, generator=generator))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """``(t, d)`` to the same."""
        query, key, value = (part(x).unflatten(1, self.shape) for part in (self.query, self.key, self.value))
        weights = context.segments if self.options.counted else None
        if context.maps is not None:
            context.maps(self.maps(query, key, context.layout.spans, weights))
        return self.out(self.mix(query, key, value, context.layout.spans, weights).flatten(1))  # type: ignore[no-any-return]

    def mix(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        spans: list[tuple[int, int, int, int]],
        weights: Tensor | None = None,
    ) -> Tensor:
        """Attention of packed queries, keys and values ``(t, h, e)`` to the same.

        Parameters
        ----------
        query, key, value
            Of all documents.
        spans
            Start and end of each document's queries and keys.
        weights
            ``(t,)`` padded tokens that a key stands for; None for none.
        """
        documents = [slice(start, end) for start, end, _, _ in spans if end > start]
        if self.options.kernel == "none":
            mixed = [self._unprojected(query[own], key[own], value[own]) for own in documents]
        elif self.causal:
            top = self._tops([key[own] for own in documents])
            mixed = [
                self._causal(query[own], key[own], value[own], highest)
                for own, highest in zip(documents, top, strict=True)
            ]
        else:
            mixed = self._bidirectional(query, key, value, documents, weights)
        return torch.cat(mixed) if mixed else value

    def maps(
        self,
        query: Tensor,
        key: Tensor,
        spans: list[tuple[int, int, int, int]],
        weights: Tensor | None = None,
    ) -> tuple[Any, ...]:
        """Weight of every key for every query, ``(h, s, s)`` of each document, which mixing never writes out.

        Parameters
        ----------
        query, key, spans, weights
            As of :meth:`mix`.

        Raises
        ------
        ConfigError
            If attention is causal, or of a kernel without random features.
        """
        if self.causal or self.options.kernel == "none":
            raise ConfigError("attention maps of performer need causal=False and random features")
        documents = [slice(start, end) for start, end, _, _ in spans]
        maps = []
        for own, top in zip(documents, self._tops([key[own] for own in documents]), strict=True):
            raw, norm = self._projected(key[own])
            keys = self._features(raw, norm, top) + self._eps  # (h, s, m)
            if weights is not None:
                keys = keys * weights[own].clamp(min=1).to(keys)[:, None]
            maps.append(self._map(query[own], keys))
        return tuple(maps)

    def _map(self, query: Tensor, keys: Tensor) -> Tensor | MapPieces:
        heads, length = keys.shape[:2]

        def pieces() -> Iterator[Tensor]:
            for part in torch.split(query, max(1, _LARGEST_MAP // (heads * length))):
                raised = self._queries(part) @ keys.transpose(1, 2)
                yield raised / raised.sum(-1, keepdim=True)

        whole = heads * length**2 <= _LARGEST_MAP
        return next(pieces()) if whole else MapPieces((heads, length, length), pieces)

    def _bidirectional(
        self, query: Tensor, key: Tensor, value: Tensor, documents: list[slice], weights: Tensor | None
    ) -> list[Tensor]:
        outputs = []
        for own in documents:
            count = None if weights is None else weights[own]
            outputs.append(self._summed(key[own], value[own], count))
        tops = _shared([part.top for part in outputs], self.options.stabiliser)
        mixed = []
        for own, keys, top in zip(documents, outputs, tops, strict=True):
            eps = self._eps
            factor = torch.exp(keys.top - top)[:, None]  # (h, 1)
            sums = factor * keys.keys + eps * keys.number
            values = factor[..., None] * keys.values + eps * keys.value_sum[:, None]
            # What is added to every feature of a query, once for all queries.
            more, below = eps * values.sum(1, keepdim=True), eps * sums.sum(1)[:, None, None]
            parts = []
            for part in torch.split(query[own], self._step(query)):
                raw, norm = self._projected(part)
                features = self._features(raw, norm, raw.amax(-1, keepdim=True).detach())  # (h, s, m)
                mean = (features @ values + more) / (features @ sums[..., None] + below)
                parts.append(mean.transpose(0, 1))
            mixed.append(torch.cat(parts))
        return mixed

    def _summed(self, key: Tensor, value: Tensor, weights: Tensor | None) -> _Keys:
        """Keys ``(n, h, e)`` and values of a document, a slice at a time; the maximum may grow."""
        times = None
        count: Tensor | float = float(len(key))
        if weights is not None:
            times = weights.clamp(min=1).to(value.dtype)
            value = value * (weights < 1).to(value.dtype)[:, None, None]
            count = times.sum()
        values = sums = top = None
        step = self._step(key)
        for start in range(0, len(key), step):
            own = slice(start, start + step)
            raw, norm = self._projected(key[own])
            highest = self._highest(raw)
            new = highest if top is None else torch.maximum(top, highest)
            features = self._features(raw, norm, new)  # (h, s, m)
            more_values = features.transpose(1, 2) @ value[own].transpose(0, 1)
            more = features.sum(1) if times is None else (features * times[own, None]).sum(1)
            if top is None or values is None or sums is None:
                values, sums = more_values, more
            else:
                factor = torch.exp(top - new)[:, None]
                values, sums = factor[..., None] * values + more_values, factor * sums + more
            top = new
        assert values is not None
        assert sums is not None
        assert top is not None
        return _Keys(values, sums, top, value.sum(0), count)

    def _causal(self, query: Tensor, key: Tensor, value: Tensor, top: Tensor) -> Tensor:
        """Each query reads the keys up to its own place."""
        scale = len(self.projection) ** -0.5
        past = value.new_zeros((value.shape[1], len(self.projection), value.shape[2]))
        seen = value.new_zeros((value.shape[1], len(self.projection), 1))
        parts = []
        for start in range(0, len(query), _SLICE):
            own = slice(start, start + _SLICE)
            features = (self._queries(query[own])) * scale  # (h, s, m)
            raw, norm = self._projected(key[own])
            keys = (self._features(raw, norm, top) + self._eps) * scale
            rows = value[own].transpose(0, 1)
            near = (features @ keys.transpose(1, 2)).tril()  # (h, s, s)
            below = near.sum(2, keepdim=True) + features @ (seen + _CAUSAL_EPS)
            parts.append((near @ rows + features @ past) / below)
            past = past + keys.transpose(1, 2) @ rows
            seen = seen + keys.sum(1)[..., None]
        return torch.cat(parts, 1).transpose(0, 1)

    def _unprojected(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        features = query.softmax(-1).transpose(0, 1)  # (h, n, e)
        if not self.causal:
            keys = key.softmax(0).transpose(0, 1)
            read = features @ (keys.transpose(1, 2) @ value.transpose(0, 1))
            return (read / (features @ keys.sum(1)[..., None])).transpose(0, 1)
        keys = key.exp().transpose(0, 1)
        near = (features @ keys.transpose(1, 2)).tril()
        below = near.sum(2, keepdim=True) + _CAUSAL_EPS * features.sum(2, keepdim=True)
        return (near @ value.transpose(0, 1) / below).transpose(0, 1)

    def _tops(self, keys: list[Tensor]) -> list[Tensor]:
        """What is subtracted from the key features of each document, ``(h,)``."""
        highest = []
        for key in keys:
            parts = [self._highest(self._projected(part)[0]) for part in torch.split(key, self._step(key))]
            highest.append(torch.stack(parts).amax(0))
        return _shared(highest, self.options.stabiliser)

    def _queries(self, query: Tensor) -> Tensor:
        """Features ``(h, s, m)`` of queries ``(s, h, e)``."""
        raw, norm = self._projected(query)
        return self._features(raw, norm, raw.amax(-1, keepdim=True).detach()) + self._eps

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Projections ``(h, s, m)`` and half the squared length ``(h, s, 1)``, both scaled."""
        x, scale = x.transpose(0, 1), x.shape[-1] ** -0.25
        projection = self.projection.to(x.dtype) * scale
        return x @ projection.t(), x.square().sum(-1, keepdim=True) * (scale**2 / 2)

    def _features(self, raw: Tensor, norm: Tensor, top: Tensor) -> Tensor:
        if self.options.kernel == "relu":
            return raw.relu()
        # In place: the features of a slice are the largest tensor here, and each pass over it counts.
        return raw.sub_(norm + (top[:, None, None] if top.dim() == 1 else top)).exp_()

    def _highest(self, raw: Tensor) -> Tensor:
        if self.options.kernel == "relu":
            return raw.new_zeros(len(raw))
        return raw.amax((1, 2)).detach()

    @property
    def _eps(self) -> float:
        return _RELU_EPS if self.options.kernel == "relu" else _SOFTMAX_EPS

    def _step(self, x: Tensor) -> int:
        """Tokens of a slice."""
        largest = _LARGEST_CUDA if x.is_cuda else _LARGEST
        return max(1, largest // (self.shape[0] * max(1, len(self.projection))))


def _shared(tops: list[Tensor], stabiliser: str) -> list[Tensor]:
    """Maxima of heads ``(h,)`` of each document, taken over what the stabiliser says."""
    if stabiliser == "head" or not tops:
        return tops
    highest = [top.amax().expand_as(top) for top in tops]
    if stabiliser == "document":
        return highest
    return [torch.stack(highest).amax(0)] * len(tops)


PERFORMER = Mixer(
    name="performer",
    factory=Performer,
    options=PerformerOptions,
    supports=frozenset({"causal", "bidirectional", "maps"}),
)
