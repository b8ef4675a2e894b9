"""Text with a graph or an image: tokens of a document and the nodes or patches beside it read each other.

Dimensions: ``b`` documents · ``t`` tokens of all of them · ``u`` nodes (or patches) of all of them ·
``d`` width · ``e`` width of the text encoder · ``v`` vocabulary · ``m`` nodes of the graph.

The idea of DRAGON (Yasunaga et al. 2022), on the parallel cross-attention of
:class:`biolm.core.fusion.Fusion`: masked tokens and links of the graph are predicted together. The encoder of
the text is frozen and stands outside. A document's own links are what is predicted, so they are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.core.config import CoreConfig
from biolm.core.fusion import Fusion, Stream
from biolm.errors import ConfigError, InputError

__all__ = ["FusedText", "FusionSettings", "Grounded", "train_fused", "wrong_nodes"]


@dataclass(frozen=True, slots=True)
class Grounded:
    """One document with what stands beside it.

    Parameters
    ----------
    states
        ``(t, e)`` of the encoder, with tokens masked.
    masked
        Rows of masked tokens.
    targets
        Their ids.
    nodes
        Rows of the graph, or of ``patches`` where those are given.
    patches
        ``(u, f)`` numbers of an image's patches in place of nodes.
    """

    states: NDArray[np.float32]
    masked: NDArray[np.int64]
    targets: NDArray[np.int64]
    nodes: NDArray[np.int64]
    patches: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Shape and training; ``links`` is the weight of link prediction, 0 for none."""

    width: int = 96
    layers: int = 1
    heads: int = 4
    epochs: int = 4
    batch_size: int = 8
    lr: float = 2e-3
    links: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width must be a multiple of heads: {self.width} and {self.heads}")


class FusedText(nn.Module):
    """Fusion layers over projected tokens and nodes, with a read-out of masked tokens and one of links.

    Parameters
    ----------
    settings
        Shape.
    encoder_width
        ``e``.
    vocabulary
        ``v``.
    nodes
        ``m``.
    patch_width
        Numbers of a patch; 0 where nodes stand beside the text.
    """

    def __init__(
        self,
        settings: FusionSettings,
        encoder_width: int,
        vocabulary: int,
        nodes: int,
        *,
        patch_width: int = 0,
    ) -> None:
        super().__init__()
        s = settings
        self.settings = settings
        self.text = nn.Linear(encoder_width, s.width)
        self.nodes = nn.Embedding(max(nodes, 1), s.width)
        # Small, so that the text is not drowned by nodes that nothing is known of at first.
        nn.init.normal_(self.nodes.weight, std=0.1)
        self.patches = nn.Linear(patch_width, s.width) if patch_width else None
        config = CoreConfig(
            vocab_size=1, d_model=s.width, n_layers=s.layers, n_heads=s.heads, d_ff=2 * s.width
        )
        self.fusion = Fusion(config)
        self.words = nn.Linear(s.width, vocabulary)
        # Ones make DistMult a plain dot product to start with.
        self.relation = nn.Parameter(torch.ones(s.width))

    def forward(self, documents: Sequence[Grounded]) -> tuple[Tensor, Stream]:
        """Logits ``(masked, v)`` of all documents' masked tokens, and the fused nodes."""
        lengths = [len(each.states) for each in documents]
        states = self.text(torch.from_numpy(np.concatenate([each.states for each in documents])))
        beside, counts = self._beside(documents)
        tokens = Stream(states, _offsets(lengths))
        fused, nodes = self.fusion(tokens, Stream(beside, _offsets(counts)))
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        rows = np.concatenate([each.masked + start for each, start in zip(documents, starts, strict=True)])
        return self.words(fused.states[torch.from_numpy(rows)]), nodes

    def _beside(self, documents: Sequence[Grounded]) -> tuple[Tensor, list[int]]:
        if self.patches is None:
            rows = torch.from_numpy(np.concatenate([each.nodes for each in documents]).astype(np.int64))
            return self.nodes(rows), [len(each.nodes) for each in documents]
        if any(each.patches is None for each in documents):
            raise InputError("a document has no patches; a model of images needs them for each")
        tables = [each.patches for each in documents if each.patches is not None]
        return self.patches(torch.from_numpy(np.concatenate(tables))), [len(table) for table in tables]

    def link_scores(self, pairs: Tensor) -> Tensor:
        """Scores of pairs ``(p, 2)`` of nodes (DistMult with one relation)."""
        a, b = self.nodes(pairs[:, 0]), self.nodes(pairs[:, 1])
        scores: Tensor = (a * self.relation * b).sum(-1)
        return scores


def _offsets(lengths: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def wrong_nodes(documents: Sequence[Grounded], seed: int = 0) -> list[Grounded]:
    """The control: every document beside the nodes of another one.

    Parameters
    ----------
    documents
        Documents with their nodes.
    seed
        Of the shuffle.
    """
    order = np.random.default_rng(seed).permutation(len(documents))
    # A cycle over all: no document keeps its own nodes, as some would in a free shuffle.
    turned = np.roll(order, 1)
    other: dict[int, int] = dict(zip(order.tolist(), turned.tolist(), strict=True))
    return [
        Grounded(
            each.states, each.masked, each.targets, documents[other[n]].nodes, documents[other[n]].patches
        )
        for n, each in enumerate(documents)
    ]


def train_fused(
    train: Sequence[Grounded],
    test: Sequence[Grounded],
    vocabulary: int,
    *,
    links: NDArray[np.int64],
    held_links: NDArray[np.int64],
    nodes: int,
    settings: FusionSettings | None = None,
) -> dict[str, float]:
    """Train on documents and links together; what is found of other documents and links.

    Parameters
    ----------
    train, test
        Documents.
    vocabulary
        ``v``.
    links, held_links
        ``(p, 2)`` pairs of nodes to learn from, and others; both may be empty.
    nodes
        ``m``.
    settings
        See :class:`FusionSettings`.

    Returns
    -------
    ``masked`` (nats a masked token of the test documents), ``accuracy`` of them, and ``auc`` of the held
    links against random pairs.

    Raises
    ------
    InputError
        If a side has no document.
    """
    from sklearn.metrics import roc_auc_score

    s = settings or FusionSettings()
    if not train or not test:
        raise InputError("there are no documents to train on or to score")
    torch.manual_seed(s.seed)
    first = train[0]
    patch_width = 0 if first.patches is None else first.patches.shape[1]
    model = FusedText(s, first.states.shape[1], vocabulary, nodes, patch_width=patch_width)
    optimiser = torch.optim.AdamW(model.parameters(), lr=s.lr)
    rng = np.random.default_rng(s.seed)
    for _ in range(s.epochs):
        order = rng.permutation(len(train))
        for start in range(0, len(order), s.batch_size):
            chosen = [train[row] for row in order[start : start + s.batch_size]]
            logits, _ = model(chosen)
            loss = F.cross_entropy(logits, _targets(chosen))
            if s.links and len(links):
                loss = loss + s.links * _link_loss(model, links, nodes, rng)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model([each])[0] for each in test])
        target = _targets(test)
        scores: dict[str, Any] = {
            "masked": float(F.cross_entropy(logits, target)),
            "accuracy": float((logits.argmax(-1) == target).float().mean()),
        }
        if s.links and len(held_links):
            pairs = np.concatenate([held_links, _negatives(held_links, nodes, rng)])
            scored = model.link_scores(torch.from_numpy(pairs)).numpy()
            # Scored against nodes drawn at random, so 0.5 is chance.
            scores["auc"] = float(roc_auc_score([1] * len(held_links) + [0] * len(held_links), scored))
    return scores


def _targets(documents: Sequence[Grounded]) -> Tensor:
    return torch.from_numpy(np.concatenate([each.targets for each in documents]).astype(np.int64))


def _negatives(links: NDArray[np.int64], nodes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """As many pairs with another second node."""
    return np.stack([links[:, 0], rng.integers(0, nodes, len(links))], 1)


def _link_loss(model: FusedText, links: NDArray[np.int64], nodes: int, rng: np.random.Generator) -> Tensor:
    some = links[rng.integers(0, len(links), min(len(links), 256))]
    pairs = np.concatenate([some, _negatives(some, nodes, rng)])
    target = torch.cat([torch.ones(len(some)), torch.zeros(len(some))])
    return F.binary_cross_entropy_with_logits(model.link_scores(torch.from_numpy(pairs)), target)
