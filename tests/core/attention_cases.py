"""What attention kernels are compared on: masks, biases, heads, and documents of mixed lengths.

Needs torch alone. Dimensions: ``t``, ``u`` query and key tokens · ``h``, ``j`` heads · ``k`` head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from biolm.core.layout import Layout, Rule
from biolm.core.positions import AlibiBias, PositionBias, T5Bias

# Empty documents, single tokens, and runs of equal lengths, which share a call on the CPU.
LENGTHS = (5, 0, 1, 9, 9, 33, 1, 1, 0)
KEY_LENGTHS = (7, 3, 1, 9, 2, 20, 5, 0, 0)


@dataclass(frozen=True)
class Scene:
    """One setting of attention; ``cross`` gives keys of another stream."""

    rule: Rule
    bias: str = "none"
    kv_heads: int = 4
    cross: bool = False


SCENES = {
    "full": Scene(Rule(scale=0.4)),
    "causal": Scene(Rule(causal=True, scale=0.4)),
    "two-sided window": Scene(Rule(window=2, scale=0.4)),
    "causal window": Scene(Rule(causal=True, window=3, scale=0.4)),
    "window of one": Scene(Rule(causal=True, window=1, scale=0.4)),
    "alibi": Scene(Rule(scale=0.4), bias="alibi"),
    "causal alibi": Scene(Rule(causal=True, scale=0.4), bias="alibi"),
    "t5": Scene(Rule(scale=1.0), bias="t5"),
    "causal t5": Scene(Rule(causal=True, scale=1.0), bias="t5"),
    "softcap": Scene(Rule(scale=0.4, softcap=1.5)),
    "causal window softcap": Scene(Rule(causal=True, window=4, scale=0.4, softcap=1.5)),
    "grouped": Scene(Rule(scale=0.4), kv_heads=2),
    "grouped causal window": Scene(Rule(causal=True, window=3, scale=0.4), kv_heads=2),
    "one kv head, alibi": Scene(Rule(scale=0.4), bias="alibi", kv_heads=1),
    "cross": Scene(Rule(scale=0.4), cross=True),
    "grouped cross": Scene(Rule(scale=0.4), kv_heads=2, cross=True),
}


def layout_of(lengths: tuple[int, ...], key_lengths: tuple[int, ...] | None = None) -> Layout:
    """Documents of those lengths; keys are the queries' own tokens unless given."""
    offsets, positions = _stream(lengths)
    if key_lengths is None:
        return Layout.of(offsets, positions, max(lengths, default=0))
    k_offsets, k_positions = _stream(key_lengths)
    longest = max(lengths, default=0), max(key_lengths, default=0)
    return Layout(offsets, k_offsets, positions, k_positions, *longest)


def _stream(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    return offsets, torch.cat([torch.arange(n) for n in (0, *lengths)])


def bias_of(scene: Scene, heads: int = 4) -> PositionBias | None:
    """The scene's bias, with a table far from zero."""
    if scene.bias == "alibi":
        return AlibiBias(heads)
    if scene.bias == "none":
        return None
    bias = T5Bias(heads, 8, 12, two_sided=not scene.rule.causal)
    torch.nn.init.normal_(bias.table.weight, generator=torch.Generator().manual_seed(5))
    return bias


def tensors_of(
    scene: Scene, lengths: tuple[int, ...], key_lengths: tuple[int, ...] | None, *, width: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries ``(t, 4, k)``, keys and values ``(u, j, k)``."""
    generator = torch.Generator().manual_seed(0)
    keys = sum(lengths if key_lengths is None else key_lengths)
    query = torch.randn(sum(lengths), 4, width, generator=generator)
    key, value = (torch.randn(keys, scene.kv_heads, width, generator=generator) for _ in range(2))
    return query, key, value


def layout_to(layout: Layout, device: str) -> Layout:
    """The same documents on another device."""
    q_offsets, q_positions = layout.q_offsets.to(device), layout.q_positions.to(device)
    if layout.same:
        return Layout.of(q_offsets, q_positions, layout.max_q)
    k_offsets, k_positions = layout.k_offsets.to(device), layout.k_positions.to(device)
    return Layout(q_offsets, k_offsets, q_positions, k_positions, layout.max_q, layout.max_k)
