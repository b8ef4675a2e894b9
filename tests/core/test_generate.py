"""Generation against the pass without a cache; ragged batches, refill, stops, seeds; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from perturb import perturb

from biolm.batch import Batch
from biolm.core import CoreConfig, SamplingOptions, Transformer, generate, generate_each
from biolm.core.seq2seq import EncoderDecoder
from biolm.errors import ConfigError, InputError

SIZES = {"vocab_size": 30, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24, "max_length": 60}
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15]]


def _model(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    config = CoreConfig(**{**SIZES, "causal": True, "head": "linear", **changes})
    model = perturb(Transformer(config), std=0.25)
    assert isinstance(model, Transformer)
    return model.eval()


def _slowly(model: Transformer, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
    """Greedy, reading everything again for each token."""
    ids, scores = list(prompt), []
    for _ in range(count):
        logits = model(Batch.from_padded(torch.tensor([ids]))).logits[-1].log_softmax(0)
        ids.append(int(logits.argmax()))
        scores.append(float(logits.max()))
    return ids[len(prompt) :], scores


@pytest.mark.parametrize("changes", [{}, {"position": "rope", "window": 4, "n_kv_heads": 2}])
@pytest.mark.parametrize(("batch_size", "chunk_tokens"), [(32, 512), (2, 4), (1, 1), (3, 5)])
@torch.inference_mode()
def test_greedy_equals_reading_everything_again(
    changes: dict[str, Any], batch_size: int, chunk_tokens: int
) -> None:
    model = _model(**changes)
    options = SamplingOptions(max_tokens=12, batch_size=batch_size, chunk_tokens=chunk_tokens)
    for result, prompt in zip(generate(model, PROMPTS, options), PROMPTS, strict=True):
        ids, scores = _slowly(model, prompt, 12)
        assert result.ids == ids
        assert result.log_probabilities == pytest.approx(scores, rel=1e-3, abs=1e-4)
        assert result.reason == "length"


def test_stop_tokens_end_a_sequence_and_are_kept() -> None:
    model = _model()
    free = generate(model, PROMPTS, SamplingOptions(max_tokens=20))
    stop = free[2].ids[3]
    for batch_size in (32, 2):
        stopped = generate(model, PROMPTS, SamplingOptions(max_tokens=20, stop=[stop], batch_size=batch_size))
        for result, whole in zip(stopped, free, strict=True):
            cut = whole.ids.index(stop) + 1 if stop in whole.ids else 20
            assert result.ids == whole.ids[:cut]
            assert len(result.log_probabilities) == cut
            assert result.reason == ("stop" if stop in whole.ids else "length")


def test_results_come_as_they_finish_and_the_queue_refills() -> None:
    model = _model()
    stop = generate(model, PROMPTS[:1], SamplingOptions(max_tokens=2))[0].ids[0]
    options = SamplingOptions(max_tokens=6, stop=[stop], batch_size=2)
    order = [result.index for result in generate_each(model, PROMPTS * 3, options)]
    assert sorted(order) == list(range(12))
    assert order[0] == 0
    assert order.index(4) < order.index(3)
    assert generate(model, [], options) == []


def test_a_packed_batch_of_prompts_is_the_same() -> None:
    model = _model()
    mask = torch.zeros(4, 9)
    ids = torch.zeros(4, 9, dtype=torch.long)
    for row, prompt in enumerate(PROMPTS):
        ids[row, : len(prompt)], mask[row, : len(prompt)] = torch.tensor(prompt), 1
    options = SamplingOptions(max_tokens=5)
    assert generate(model, Batch.from_padded(ids, mask), options) == generate(model, PROMPTS, options)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_seed_fixes_a_prompt_whatever_runs_beside_it(penalty: float) -> None:
    model = _model(position="rope")

    def run(prompts: list[list[int]], **changes: Any) -> list[list[int]]:
        options = {"max_tokens": 15, "temperature": 1.3, "top_k": 20, "top_p": 0.9, "seed": 5}
        options |= {"frequency_penalty": penalty, "presence_penalty": penalty}
        return [result.ids for result in generate(model, prompts, SamplingOptions(**{**options, **changes}))]

    whole = run(PROMPTS)
    assert run(PROMPTS[:2]) == whole[:2]
    assert run(PROMPTS, batch_size=1) == run(PROMPTS, batch_size=3, chunk_tokens=2) == whole
    assert run(PROMPTS, seed=6) != whole
    # Equal prompts differ by their number.
    assert run([[1], [1]])[0] != run([[1], [1]])[1]


def test_no_positions_left_ends_a_sequence() -> None:
    model = _model(max_length=12)
    results = generate(model, PROMPTS, SamplingOptions(max_tokens=50))
    # The last token needs no position of its own.
    assert [len(r.ids) for r in results] == [12 - len(p) + 1 for p in PROMPTS]
    assert {r.reason for r in results} == {"positions"}
    assert generate(_model(max_length=12, position="rope"), PROMPTS)[0].reason == "length"


def test_training_mode_is_kept_and_dropout_off() -> None:
    model = _model(dropout_residual=0.5, dropout_attention=0.5).train()
    options = SamplingOptions(max_tokens=8)
    assert generate(model, PROMPTS, options) == generate(model, PROMPTS, options)
    assert model.training


@torch.inference_mode()
def test_an_encoder_is_read_once_and_looked_at_always() -> None:
    shape = {**SIZES, "position": "t5", "t5_buckets": 8, "norm": "rmsnorm", "attn_scale": 1.0}
    decoder = CoreConfig(**shape, causal=True, cross_attention=True, head="linear")
    torch.manual_seed(0)
    model = perturb(EncoderDecoder(CoreConfig(**shape), decoder), std=0.25).eval()
    assert isinstance(model, EncoderDecoder)
    model.decoder.layers[0].cross.out.weight *= 20  # the source decides what is written
    sources, starts = [[3, 4, 5, 6], [7], [8, 9, 10, 11, 12, 13], [14, 15]], [[0], [0, 1], [0], [0]]
    stop = None
    for batch_size in (8, 2):
        results = generate(
            model, starts, SamplingOptions(max_tokens=10, batch_size=batch_size), sources=sources
        )
        assert len({tuple(result.ids) for result in results}) > 1
        for result, source, start in zip(results, sources, starts, strict=True):
            read, ids = Batch.from_padded(torch.tensor([source])), list(start)
            for token, score in zip(result.ids, result.log_probabilities, strict=True):
                logits = model(read, Batch.from_padded(torch.tensor([ids]))).logits[-1].log_softmax(0)
                assert token == int(logits.argmax())
                assert score == pytest.approx(float(logits.max()), rel=1e-3, abs=1e-4)
                ids.append(token)
        stop = results[0].ids[2]
    stopped = generate(model, starts, SamplingOptions(max_tokens=10, stop=[stop]), sources=sources)
    assert [r.ids for r in stopped] == [
        whole.ids[: whole.ids.index(stop) + 1] if stop in whole.ids else whole.ids for whole in results
    ]
    with pytest.raises(ConfigError, match="sources go with"):
        generate(model, starts)
    with pytest.raises(InputError, match="3 sources and 4 prompts"):
        generate(model, starts, sources=sources[:3])
    with pytest.raises(InputError, match="source 1 is empty"):
        generate(model, starts[:2], sources=[[1], []])


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[1], []], {}, "prompt 1 is empty"),
        ([[1] * 61], {}, "61 tokens but the model 60 positions"),
        ([[1, 30]], {}, r"prompt 0 holds id 30, outside the vocabulary 0\.\.29"),
        ([[-1]], {}, "prompt 0 holds id -1"),
        ([[1]], {"stop": [30]}, "stop token 30 lies outside"),
        ([[1]], {"stop": [-1]}, "stop token -1 lies outside"),
    ],
)
def test_bad_input_is_named(prompts: list[list[int]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(_model(), prompts, SamplingOptions(**options))


@pytest.mark.parametrize("changes", [{"causal": False}, {"head": "mlm"}, {"head": "none"}])
def test_models_that_cannot_write_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="generates"):
        generate(_model(**changes), [[1]])


def test_sources_need_an_encoder() -> None:
    with pytest.raises(ConfigError, match="sources go with"):
        generate(_model(), [[1]], sources=[[1]])
