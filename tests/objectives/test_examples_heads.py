"""Objectives of whole examples: classes, numbers, domains, similarity, pair order."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import METADATA, make_core, pack_of
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor

from biolm.batch import Batch
from biolm.errors import ConfigError, InputError
from biolm.objectives.adversarial import reverse_gradient
from biolm.objectives.classify import score_classes
from biolm.objectives.registry import make

LABELLED = dataclasses.replace(METADATA, classes={"cell_type": 3, "batch": 2})


def vectors_of(core: torch.nn.Module, batch: Batch) -> Tensor:
    """``cls`` vectors, one document at a time."""
    parts = batch.ids.split(batch.lengths.tolist())
    return torch.stack([core(pack_of([len(part)], part)).last_hidden_state[0] for part in parts])


@pytest.mark.parametrize("weights", [(), (0.2, 1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_by_hand(weights: tuple[float, ...], smoothing: float) -> None:
    core, batch = make_core(), pack_of([5, 2, 9, 4])
    settings = {"class_weights": weights, "label_smoothing": smoothing, "hidden": 1}
    objective = make("classify", LABELLED, settings)
    labels = torch.tensor([2, -100, 0, 1])
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": labels})
    loss, metrics = objective.loss(core, prepared)
    logits = objective.head(vectors_of(core, batch)).detach().double().numpy()
    w = np.array(weights or (1.0, 1.0, 1.0))
    total = mass = right = 0.0
    for row, label in ((0, 2), (2, 0), (3, 1)):
        log = logits[row] - np.log(np.exp(logits[row]).sum())
        total += -(1 - smoothing) * w[label] * log[label] - smoothing / 3 * (w * log).sum()
        mass += w[label]
        right += logits[row].argmax() == label
    assert loss.item() == pytest.approx(total / mass, rel=1e-5)
    assert metrics["loss"].tolist() == pytest.approx([total, mass], rel=1e-5)
    assert metrics["accuracy"].tolist() == [right, 3]


def test_recorded_label_smoothing_of_sctrans(goldens: Path) -> None:
    wanted = load_file(goldens / "sctrans" / "io.safetensors")
    for smoothing, name in ((0.0, "label_smoothing_loss_0"), (0.1, "label_smoothing_loss_01")):
        score = score_classes(wanted["logits"], wanted["targets"][:, 0], label_smoothing=smoothing)
        assert relative(score.loss()[None], wanted[name]) < 2e-5


def test_balanced_weights_make_all_classes_of_the_training_labels_count_as_much() -> None:
    core, batch = make_core(), pack_of([5, 2, 9])
    facts = dataclasses.replace(LABELLED, counts={"cell_type": (1, 12, 2)})
    objective = make("classify", facts, {"class_weights": "balanced"})
    # Of 15 labels each of the three classes weighs 5, so that all labels together still weigh 15.
    assert objective.class_weights.tolist() == pytest.approx([5.0, 5 / 12, 2.5])
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([1, -100, 2])})
    loss, metrics = objective.loss(core, prepared)
    logits = objective.head(vectors_of(core, batch)).detach().double()
    losses = logits.logsumexp(1) - logits.gather(1, torch.tensor([[1], [0], [2]]))[:, 0]
    total, mass = (losses[0] * 5 / 12 + losses[2] * 2.5).item(), 5 / 12 + 2.5
    assert metrics["loss"].tolist() == pytest.approx([total, mass], rel=1e-5)
    assert loss.item() == pytest.approx(total / mass, rel=1e-5)
    # A class without a training label weighs as one with a single label.
    unseen = dataclasses.replace(LABELLED, counts={"cell_type": (0, 3, 2)})
    weights = make("classify", unseen, {"class_weights": "balanced"}).class_weights
    assert (weights / weights[0]).tolist() == pytest.approx([1.0, 1 / 3, 1 / 2])


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_mean_and_sum_are_of_usual_tokens_and_of_hidden_ones(pool: str) -> None:
    core = make_core()
    batch = pack_of([5, 4, 2], torch.tensor([0, 5, 3, 7, 1, 0, 3, 3, 2, 0, 1]))
    objective = make("classify", LABELLED, {"pool": pool})
    output = core(batch)
    found = objective.predictions(output, objective.prepare(batch, batch.index, 0, 0))["cell_type"]
    states = output.last_hidden_state
    # The mask (3) stands for a token; the others below 4 are no text.
    sums = torch.stack([states[[1, 2, 3]].sum(0), states[[6, 7]].sum(0), torch.zeros(16)])
    if pool == "mean":
        sums /= torch.tensor([[3.0], [2.0], [1.0]])
    assert torch.allclose(found, objective.head(sums), atol=1e-5)


def test_numbers_by_hand() -> None:
    core, batch = make_core(), pack_of([5, 2, 9])
    objective = make("regress", METADATA, {"column": "age", "loss": "huber"})
    ages = torch.tensor([0.3, math.nan, 40.0])
    loss, metrics = objective.loss(core, objective.prepare(batch, batch.index, 0, 0, {"age": ages}))
    found = objective.head(vectors_of(core, batch)).detach().double().numpy()[:, 0]
    errors = [abs(found[0] - 0.3), abs(found[2] - 40)]
    wanted = np.mean([e**2 / 2 if e < 1 else e - 0.5 for e in errors])
    assert loss.item() == pytest.approx(wanted, rel=1e-4)
    assert metrics["mae"].tolist() == pytest.approx([sum(errors), 2], rel=1e-4)


def test_domain_gradient_is_reversed_before_the_head_only() -> None:
    batch = pack_of([5, 2, 9])
    labels = {"batch": torch.tensor([0, 1, 1])}
    gradients = {}
    for strength in (1.0, 0.25):
        core = make_core()
        torch.manual_seed(3)
        objective = make("adversarial", LABELLED, {"strength": strength})
        objective.loss(core, objective.prepare(batch, batch.index, 0, 0, labels))[0].backward()
        gradients[strength] = core.layers[0].mlp.up.weight.grad, objective.head.out.weight.grad.clone()
    core = make_core()
    logits = objective.head(vectors_of(core, batch))
    torch.nn.functional.cross_entropy(logits, labels["batch"]).backward()
    plain = core.layers[0].mlp.up.weight.grad
    for strength, (inner, head) in gradients.items():
        assert torch.allclose(inner, -strength * plain, rtol=1e-3, atol=1e-5)
        assert torch.allclose(head, gradients[1.0][1], atol=1e-6)
    x = torch.tensor([2.0], requires_grad=True)
    assert reverse_gradient(x).item() == 2.0


def test_cell_similarity_by_hand() -> None:
    core, batch = make_core(), pack_of([5, 2, 9, 6])
    objective = make("cell_similarity", METADATA, {"threshold": 0.6})
    loss, metrics = objective.loss(core, objective.prepare(batch, batch.index, 0, 0))
    vectors = vectors_of(core, batch).detach().double().numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [0.0 if i == j else max(vectors[i] @ vectors[j], 0) for i in range(4) for j in range(4)]
    assert loss.item() == pytest.approx(np.mean([1 - (p - 0.6) ** 2 for p in pairs]), rel=1e-5)
    assert metrics["loss"][1].item() == 4


CLS, SEP = 0, 1


def texts_of(lengths: list[tuple[int, int]], seed: int = 0) -> Batch:
    """Pairs of texts: cls, first, sep, second, sep; usual ids tell every text apart."""
    rng = np.random.default_rng(seed)
    ids, segments = [], []
    for first, second in lengths:
        words = rng.integers(4, 32, first + second).tolist()
        ids += [CLS, *words[:first], SEP, *words[first:], SEP]
        segments += [0] * (first + 2) + [1] * (second + 1)
    batch = pack_of([first + second + 3 for first, second in lengths], torch.tensor(ids))
    return dataclasses.replace(batch, segments=torch.tensor(segments))


def pairs_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Texts of each pair, after checking its shape."""
    found = []
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        ids, segments = batch.ids[start:end].tolist(), batch.segments[start:end].tolist()
        cut = ids.index(SEP)
        assert ids[0] == CLS
        assert ids[-1] == SEP
        assert ids.count(SEP) == 2
        assert segments == [0] * (cut + 1) + [1] * (len(ids) - cut - 1)
        assert batch.positions[start:end].tolist() == list(range(len(ids)))
        found.append((ids[1:cut], ids[cut + 1 : -1]))
    return found


LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8)


@given(lengths=LENGTHS, epoch=st.integers(0, 5))
def test_sentence_order_swaps_the_texts(lengths: list[tuple[int, int]], epoch: int) -> None:
    batch = texts_of(lengths)
    prepared = make("pair_order", METADATA).prepare(batch, batch.index, epoch, 0)
    for old, new, negative in zip(
        pairs_of(batch), pairs_of(prepared.batch), prepared.extra["negative"], strict=True
    ):
        assert new == (old[::-1] if negative else old)


def test_special_tokens_inside_a_text_stay_where_they_are() -> None:
    # Token 2 is special, such as an unknown word.
    ids = torch.tensor([CLS, 5, 2, 6, SEP, 7, 2, 8, SEP])
    batch = dataclasses.replace(pack_of([9], ids), segments=torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1]))
    for share, wanted in ((0.0, ids.tolist()), (1.0, [CLS, 7, 2, 8, SEP, 5, 2, 6, SEP])):
        prepared = make("pair_order", METADATA, {"share": share}).prepare(batch, batch.index, 0, 0)
        assert prepared.batch.ids.tolist() == wanted
        assert prepared.batch.segments.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


@given(lengths=LENGTHS, epoch=st.integers(0, 5))
def test_next_sentence_takes_another_text(lengths: list[tuple[int, int]], epoch: int) -> None:
    batch = texts_of(lengths)
    objective = make("pair_order", METADATA, {"negatives": "next", "share": 0.7})
    prepared = objective.prepare(batch, batch.index, epoch, 0)
    old, new = pairs_of(batch), pairs_of(prepared.batch)
    negative = prepared.extra["negative"].bool().tolist()
    assert sum(negative) != 1
    seconds = [second for _, second in old]
    limit = max(a + b for a, b in lengths)
    for i, changed in enumerate(negative):
        assert new[i][0] == old[i][0]
        if not changed:
            assert new[i] == old[i]
        else:
            others = [seconds[j] for j in range(len(old)) if j != i and negative[j]]
            assert any(new[i][1] == other[: limit - len(new[i][0])] for other in others)


def test_pair_order_learns_from_both_and_needs_segments() -> None:
    core, batch = make_core(n_segments=2), texts_of([(3, 4)] * 400)
    objective = make("pair_order", METADATA)
    prepared = objective.prepare(batch, batch.index, 0, 0)
    assert prepared.extra["negative"].double().mean().item() == pytest.approx(0.5, abs=0.08)
    loss, metrics = objective.loss(core, prepared)
    logits = objective.head(core(prepared.batch).last_hidden_state[prepared.batch.offsets[:-1].long()])
    wanted = torch.nn.functional.cross_entropy(logits.double(), prepared.extra["negative"])
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert metrics["loss"][1].item() == 400
    with pytest.raises(InputError, match="segments 0 and 1"):
        objective.prepare(pack_of([3]), torch.tensor([0]), 0, 0)


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="give one for each"):
        make("classify", LABELLED, {"class_weights": [1.0]})
    with pytest.raises(ConfigError, match="no classes for the label column"):
        make("classify", METADATA)
    with pytest.raises(ConfigError, match="order or next"):
        make("pair_order", METADATA, {"negatives": "both"})
    objective = make("classify", LABELLED)
    batch = pack_of([3])
    with pytest.raises(InputError, match="label column 'cell_type'"):
        objective.loss(make_core(), objective.prepare(batch, batch.index, 0, 0))


def test_means_of_long_documents_in_half_precision() -> None:
    # The projection of a narrow embedding is in half precision under autocast, and with it all that follows.
    core = make_core(embed_dim=8, norm="rmsnorm", max_length=2048)
    facts = dataclasses.replace(METADATA, core=core.config, classes={"cell_type": 2})
    objective = make("classify", facts, {"pool": "mean"})
    batch = pack_of([1500, 2000])
    prepared = objective.prepare(batch, batch.index, 0, 0, {"cell_type": torch.tensor([0, 1])})
    with torch.no_grad():
        wanted = objective.vectors(core(batch), prepared, "mean")
        with torch.autocast("cpu", torch.bfloat16):
            found = objective.vectors(core(batch), prepared, "mean")
    assert found.dtype == torch.float32
    assert (found - wanted).norm() < 0.02 * wanted.norm()
