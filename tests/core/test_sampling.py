"""Choosing tokens: penalties, cut-offs, draws of one's own, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from biolm.core.sampling import Draws, SamplingOptions, choose
from biolm.errors import ConfigError

LOGITS = torch.tensor([[0.5, 2.0, -1.0, 1.0, 2.0, -4.0]])


def _counts(options: SamplingOptions, times: int = 4000) -> torch.Tensor:
    draws = [Draws(options, number, LOGITS.shape[1]) for number in range(times)]
    ids, _ = choose(LOGITS.expand(times, -1), draws, options)
    return torch.bincount(torch.tensor(ids), minlength=LOGITS.shape[1]) / times


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_are_those_of_the_softmax(temperature: float) -> None:
    shares = _counts(SamplingOptions(temperature=temperature))
    assert torch.allclose(shares, (LOGITS[0] / temperature).softmax(0), atol=0.03)


def test_top_k_keeps_the_best_and_their_equals() -> None:
    shares = _counts(SamplingOptions(temperature=1.0, top_k=1))
    assert torch.allclose(shares, torch.tensor([0, 0.5, 0, 0, 0.5, 0]), atol=0.03)
    kept = _counts(SamplingOptions(temperature=1.0, top_k=3)) > 0
    assert kept.tolist() == [False, True, False, True, True, False]
    assert (_counts(SamplingOptions(temperature=5.0, top_k=6)) > 0).all()


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    # Sorted shares: 0.38 (token 1), 0.38 (4), 0.14 (3), 0.08 (0) ...
    for top_p, wanted in ((0.1, {1}), (0.36, {1}), (0.5, {1, 4}), (0.8, {1, 4, 3}), (0.95, {1, 4, 3, 0})):
        shares = _counts(SamplingOptions(temperature=1.0, top_p=top_p))
        assert set(shares.nonzero().flatten().tolist()) == wanted, top_p
        kept = torch.zeros(6).index_fill(0, torch.tensor(sorted(wanted)), 1) * LOGITS[0].softmax(0)
        assert torch.allclose(shares, kept / kept.sum(), atol=0.03)


def test_greedy_takes_the_first_of_the_best_and_scores_it() -> None:
    options = SamplingOptions()
    ids, scores = choose(LOGITS, [Draws(options, 0, 6)], options)
    assert ids == [1]
    assert scores == pytest.approx([float(LOGITS[0].log_softmax(0)[1])])


def test_penalties_count_generated_tokens() -> None:
    options = SamplingOptions(frequency_penalty=0.4, presence_penalty=0.3)
    draws = Draws(options, 0, 6)
    seen, counts = [], np.zeros(6)
    for _ in range(12):
        wanted = LOGITS[0].numpy() - 0.4 * counts - 0.3 * (counts > 0)
        (token,), (score,) = choose(LOGITS, [draws], options)
        assert token == int(np.argmax(wanted))
        # Scores are the model's own, whatever the penalties.
        assert score == pytest.approx(float(LOGITS[0].log_softmax(0)[token]), rel=1e-5)
        counts[token] += 1
        seen.append(token)
    assert seen[:4] == [1, 4, 1, 4]
    assert set(seen) == {0, 1, 3, 4}


def test_a_draw_belongs_to_seed_number_and_step() -> None:
    def numbers(seed: int, number: int) -> list[float]:
        draws = Draws(SamplingOptions(seed=seed), number, 2)
        return [draws.uniform() for _ in range(4)]

    assert numbers(1, 0) == numbers(1, 0)
    together = [tuple(numbers(seed, number)) for seed in (0, 1) for number in (0, 1, 2)]
    assert len(set(together)) == 6
    assert np.random.Generator(np.random.Philox(key=[1, 2])).random(4).tolist() == numbers(1, 2)


def test_the_ends_of_the_distribution_are_reached() -> None:
    class Fixed(Draws):
        def __init__(self, value: float) -> None:
            self.value, self.counts = value, None

        def uniform(self) -> float:
            return self.value

    options = SamplingOptions(temperature=1.0)
    last = np.nextafter(1.0, 0.0)
    ids, _ = choose(LOGITS.expand(2, -1), [Fixed(0.0), Fixed(float(last))], options)
    assert ids == [0, 5]
    # A token that a cut-off leaves out is never drawn, at either end.
    options = SamplingOptions(temperature=1.0, top_k=3)
    ids, _ = choose(LOGITS.expand(2, -1), [Fixed(0.0), Fixed(float(last))], options)
    assert ids == [1, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": -3},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.2},
        {"top_p": float("nan")},
        {"seed": -1},
        {"batch_size": 0},
        {"chunk_tokens": 0},
        {"frequency_penalty": float("inf")},
    ],
    ids=str,
)
def test_impossible_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SamplingOptions(**wrong)
