"""Names of weights: a published checkpoint's on one side, the core's on the other, both directions.

A family is a list of :class:`Key`. ``{}`` stands for a layer number; ``*`` at the end for ``weight`` and
``bias``; a published name that starts with ``/`` never carries the family's prefix. A published name that
is dropped on purpose has no name on our side. Fused matrices name several of ours and say how they are
cut.

Dimensions: ``h`` heads · ``k`` head width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import CheckpointError

__all__ = [
    "Fused",
    "HeadMajor",
    "Key",
    "KeyTable",
    "Reshaped",
    "Rows",
    "Squeezed",
    "Transposed",
    "dropped",
    "gate_up",
    "norm_keys",
    "qkv",
]


class Fused(Protocol):
    """How one published tensor holds one or several of ours."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:
        """Cut a published tensor.

        Parameters
        ----------
        tensor
            As published.
        names
            How many of ours it holds.
        config
            Of the core.
        """
        ...

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """Make the published tensor again.

        Parameters
        ----------
        parts
            The core's tensors, in the order of the line.
        config
            Of the core.
        """
        ...


class Rows:
    """Stacked along the rows, in the order named; query, key and value may differ in height."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:
        """Cut into query, key and value, or into equal parts."""
        heights = _qkv_heights(config) if names == 3 else [len(tensor) // names] * names
        if sum(heights) != len(tensor):
            raise CheckpointError(f"a fused matrix has {len(tensor)} rows, not {sum(heights)}")
        return list(torch.split(tensor, heights))

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Stack again."""
        return torch.cat(parts)


class Transposed:
    """Stored as ``(in, out)``, as GPT-2's ``Conv1D`` does; fused ones stacked along the columns."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:
        """Turn, then cut as :class:`Rows`."""
        turned = tensor.t() if tensor.dim() == 2 else tensor
        return [turned] if names == 1 else Rows().split(turned, names, config)

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """Stack, then turn back."""
        whole = torch.cat(parts)
        return whole.t() if whole.dim() == 2 else whole


class HeadMajor:
    """Query, key and value of each head in turn: rows ``(h, 3, k)``."""

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:
        """Cut into query, key and value."""
        if len(tensor) != names * config.n_heads * config.head_dim:
            raise CheckpointError(f"a fused matrix has {len(tensor)} rows, not {names * config.d_model}")
        parts = tensor.view(config.n_heads, names, config.head_dim, *tensor.shape[1:])
        return [parts[:, place].flatten(0, 1) for place in range(names)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:
        """Interleave again."""
        shape = (config.n_heads, config.head_dim, *parts[0].shape[1:])
        return torch.stack([part.view(shape) for part in parts], 1).flatten(0, 2)


class Squeezed:
    """Stored with a dimension of size 1, which ours lacks.

    Parameters
    ----------
    dim
        Where it stands.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Without it."""
        return [tensor.squeeze(self.dim)]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """With it."""
        return parts[0].unsqueeze(self.dim)


class Reshaped:
    """A vector, stored with further dimensions of size 1.

    Parameters
    ----------
    shape
        As stored, -1 for the vector's own.
    """

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def split(self, tensor: Tensor, names: int, config: CoreConfig) -> list[Tensor]:  # noqa: ARG002  # protocol
        """Without them."""
        return [tensor.flatten()]

    def join(self, parts: list[Tensor], config: CoreConfig) -> Tensor:  # noqa: ARG002  # protocol
        """With them."""
        return parts[0].view(self.shape)


def _qkv_heights(config: CoreConfig) -> list[int]:
    kv = config.n_kv_heads * config.head_dim
    return [config.n_heads * config.head_dim, kv, kv]


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a key table.

    Parameters
    ----------
    theirs
        Published name.
    ours
        Name or names in the core; none if dropped on purpose.
    fused
        How several of ours (or a transposed one) lie in one of theirs.
    also
        Other spellings of ``theirs`` that are read but never written.
    when
        Whether the line applies to a config; always by default.
    """

    theirs: str
    ours: str | tuple[str, ...] = ()
    fused: Fused | None = None
    also: tuple[str, ...] = ()
    when: Callable[[CoreConfig], bool] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Ours, as a tuple."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours


def dropped(*patterns: str) -> list[Key]:
    """Lines for published tensors that hold nothing the core needs (buffers, copies of tied weights)."""
    return [Key(pattern) for pattern in patterns]


def norm_keys(theirs: str, ours: str) -> list[Key]:
    """Lines of a norm whose weight and bias may also be spelled gamma and beta, as TensorFlow did.

    ``transformers`` 5 writes ESM and some BERT files so.

    Parameters
    ----------
    theirs, ours
        Names of the norm in the file and in the core.
    """
    return [
        Key(f"{theirs}.weight", f"{ours}.weight", also=(f"{theirs}.gamma",)),
        Key(f"{theirs}.bias", f"{ours}.bias", also=(f"{theirs}.beta",)),
    ]


def qkv(ending: str = "*") -> tuple[str, ...]:
    """Our names of query, key and value of a layer."""
    return tuple(f"layers.{{}}.attention.{name}.{ending}" for name in ("query", "key", "value"))


def gate_up(ending: str = "*") -> tuple[str, str]:
    """Our names of a gated feed-forward's two maps; in fused files the one with the activation is first."""
    return f"layers.{{}}.mlp.gate.{ending}", f"layers.{{}}.mlp.up.{ending}"


class KeyTable:
    """Both directions of a family's key names.

    Parameters
    ----------
    keys
        The lines.
    prefixes
        Prefixes that a published file may carry or lack, such as ``bert.``; the first is written.

    Examples
    --------
    >>> table = KeyTable([Key("emb.*", "embeddings.token.*")])
    >>> sorted(table.theirs_to_ours({"emb.weight": torch.ones(2, 2)}, None))
    ['embeddings.token.weight']
    """

    def __init__(self, keys: Iterable[Key], prefixes: Sequence[str] = ("",)) -> None:
        self._keys = tuple(keys)
        self._prefixes = tuple(prefixes)

    def theirs_to_ours(
        self, tensors: Mapping[str, Tensor], config: CoreConfig, source: object = "the checkpoint"
    ) -> dict[str, Tensor]:
        """Rename (and cut) published weights.

        Parameters
        ----------
        tensors
            Published weights by name.
        config
            Of the core.
        source
            Names the file in messages.

        Raises
        ------
        CheckpointError
            Lists every name that no line knows, or names two spellings of one weight.
        """
        # Lines are tried in their order, so one that holds for some configs alone may stand before a wider
        # one.
        patterns = [
            (self._pattern(spelling), key)
            for key in self._active(config)
            for spelling in (key.theirs, *key.also)
        ]
        weights: dict[str, Tensor] = {}
        origin: dict[str, str] = {}
        unknown = []
        for name, tensor in tensors.items():
            for pattern, key in patterns:
                match = pattern.fullmatch(name)
                if match:
                    parts = _cut(key, tensor, match.groupdict(), config)
                    # Which of two spellings was trained last, nobody can tell.
                    for twice in parts.keys() & origin.keys():
                        raise CheckpointError(
                            f"{source} holds {origin[twice]} and {name}, one weight twice; remove one"
                        )
                    weights.update(parts)
                    origin.update(dict.fromkeys(parts, name))
                    break
            else:
                unknown.append(name)
        if unknown:
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise CheckpointError(
                f"{source} holds weights that this model has no place for: {', '.join(unknown[:8])}{more}"
            )
        return weights

    def ours_to_theirs(self, tensors: Mapping[str, Tensor], config: CoreConfig) -> dict[str, Tensor]:
        """Rename (and join) the core's weights as published.

        Parameters
        ----------
        tensors
            The core's weights by name.
        config
            Of the core.

        Raises
        ------
        CheckpointError
            If a weight of the core has no published name.
        """
        # What is left in the end has no published name; writing without it would lose a trained weight.
        left = dict(tensors)
        out: dict[str, Tensor] = {}
        for key in self._active(config):
            if not key.names:
                continue
            first = re.compile(_regex(key.names[0]))
            for name in list(left):
                match = first.fullmatch(name)
                if not match:
                    continue
                parts = [left.pop(_fill(ours, match.groupdict())) for ours in key.names]
                whole = parts[0] if key.fused is None else key.fused.join(parts, config)
                out[_fill(self._written(key), match.groupdict())] = whole
        if left:
            raise CheckpointError(f"no published name for {', '.join(sorted(left)[:8])}")
        return out

    def published(self, ours: str, config: CoreConfig) -> str:
        """Published name of one of the core's weights, for messages; ours where there is none.

        Parameters
        ----------
        ours
            The core's name.
        config
            Of the core.
        """
        for key in self._active(config):
            for name in key.names:
                if match := re.fullmatch(_regex(name), ours):
                    return _fill(self._written(key), match.groupdict())
        return ours

    def drops(self, theirs: str, config: CoreConfig) -> bool:
        """Whether a published weight is left out on purpose.

        Parameters
        ----------
        theirs
            Published name.
        config
            Of the core.
        """
        return any(
            not key.names and self._pattern(spelling).fullmatch(theirs)
            for key in self._active(config)
            for spelling in (key.theirs, *key.also)
        )

    def _active(self, config: CoreConfig) -> list[Key]:
        return [key for key in self._keys if key.when is None or key.when(config)]

    def _written(self, key: Key) -> str:
        return key.theirs[1:] if key.theirs.startswith("/") else self._prefixes[0] + key.theirs

    def _pattern(self, spelling: str) -> re.Pattern[str]:
        if spelling.startswith("/"):
            return re.compile(_regex(spelling[1:]))
        # A bare model is saved without the prefix that the same weights carry inside a model with a head.
        heads = "|".join(re.escape(prefix) for prefix in self._prefixes)
        return re.compile(f"(?:{heads}){_regex(spelling)}")


def _regex(pattern: str) -> str:
    text = re.escape(pattern).replace(r"\{\}", r"(?P<layer>\d+|\*)")
    return re.sub(r"\\\*$", "(?P<part>weight|bias)", text)


def _fill(pattern: str, groups: Mapping[str, str]) -> str:
    filled = pattern.replace("{}", groups.get("layer", ""))
    return filled[:-1] + groups["part"] if filled.endswith("*") else filled


def _cut(key: Key, tensor: Tensor, groups: Mapping[str, str], config: CoreConfig) -> dict[str, Tensor]:
    if not key.names:
        return {}
    parts = [tensor] if key.fused is None else key.fused.split(tensor, len(key.names), config)
    return {_fill(ours, groups): part for ours, part in zip(key.names, parts, strict=True)}
