"""Text beside a graph or an image: what stands beside helps where it tells, and not where it is another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biolm.errors import ConfigError, InputError
from biolm.text.fusion import FusedText, FusionSettings, Grounded, train_fused, wrong_nodes


def documents(count, *, patches=False):
    """The masked token is told by the node alone."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        node = number % 5
        table = np.eye(5, dtype=np.float32)[[node]] if patches else None
        found.append(
            Grounded(
                rng.normal(size=(6, 8)).astype(np.float32),
                np.array([2]),
                np.array([node + 3]),
                np.array([node]),
                table,
            )
        )
    return found


LINKS = np.array([[0, 1], [1, 2], [2, 3]])


@pytest.mark.parametrize("patches", [False, True])
def test_own_nodes_tell_and_wrong_ones_do_not(patches):
    made = documents(60, patches=patches)
    settings = FusionSettings(width=16, heads=2, epochs=12, lr=1e-2, links=0.0 if patches else 0.2)
    shared = {"links": LINKS, "held_links": LINKS, "nodes": 5, "settings": settings}
    right = train_fused(made[:50], made[50:], 9, **shared)
    wrong = train_fused(wrong_nodes(made[:50], 1), wrong_nodes(made[50:], 1), 9, **shared)
    assert right["accuracy"] == 1.0
    assert wrong["masked"] > right["masked"] + 0.5
    assert ("auc" in right) == (not patches)


def test_wrong_nodes_are_those_of_another_document():
    made = [
        Grounded(np.zeros((1, 2), np.float32), np.array([0]), np.array([0]), np.array([n])) for n in range(7)
    ]
    turned = wrong_nodes(made, 3)
    assert sorted(int(each.nodes[0]) for each in turned) == list(range(7))
    assert all(int(each.nodes[0]) != n for n, each in enumerate(turned))


def test_a_document_without_nodes_and_one_without_patches():
    made = documents(2)
    empty = Grounded(made[0].states, made[0].masked, made[0].targets, made[0].nodes[:0])
    settings = FusionSettings(width=16, heads=2)
    logits, _ = FusedText(settings, 8, 9, 5)([empty, made[1]])
    assert torch.isfinite(logits).all()
    with pytest.raises(InputError, match="has no patches"):
        FusedText(settings, 8, 9, 5, patch_width=5)(made)
    with pytest.raises(ConfigError, match="multiple of heads"):
        FusionSettings(width=10, heads=3)
    with pytest.raises(InputError, match="no documents"):
        train_fused([], made, 9, links=LINKS, held_links=LINKS, nodes=5)
