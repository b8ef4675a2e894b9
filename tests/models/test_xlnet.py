"""XLNet's two streams against ``transformers``: perm_mask, target_mapping and segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from family_examples import EXAMPLES
from parity import error, full_example, make_reference
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.two_stream import Streams, two_stream_logits
from biolm.errors import ConfigError, InputError
from biolm.models.families import xlnet
from biolm.models.families.hf import from_hf

pytest.importorskip("transformers")

LENGTHS = (12, 5, 9)


@pytest.fixture(scope="module", params=[0, 1])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    reference = make_reference("xlnet", full_example("xlnet", request.param))
    folder = tmp_path_factory.mktemp("xlnet")
    reference.save_pretrained(folder)  # type: ignore[operator]
    return reference, from_hf(folder)


def _inputs(segments: bool) -> tuple[dict[str, Tensor], Batch, Streams]:
    generator = torch.Generator().manual_seed(0)
    shape = (len(LENGTHS), max(LENGTHS))
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(6, 40, shape, generator=generator)
    perm, mapping = torch.zeros(*shape, shape[1]), torch.zeros(shape[0], 2, shape[1])
    orders, targets = [], []
    for row, length in enumerate(LENGTHS):
        order = torch.randperm(length, generator=generator)
        # The two last ones of the order are predicted, so that each of them sees something.
        places = order.argsort()[-2:]
        perm[row, :length, :length] = (order[None, :] >= order[:, None]).float()
        mapping[row, torch.arange(2), places] = 1
        orders.append(order)
        targets.append(places)
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "perm_mask": perm, "target_mapping": mapping}
    kinds = torch.randint(0, 2, shape, generator=generator) if segments else None
    if kinds is not None:
        inputs["token_type_ids"] = kinds
    return inputs, Batch.from_padded(ids, mask, segments=kinds), Streams.by_order(orders, targets)


@pytest.mark.parametrize("segments", [False, True])
@torch.no_grad()
def test_predictions_by_an_order_agree(segments: bool, pair: tuple[Any, Transformer]) -> None:
    reference, core = pair
    inputs, batch, streams = _inputs(segments)
    wanted = reference(**inputs).logits.flatten(0, 1)
    found = two_stream_logits(core, batch, streams)
    assert error(found, wanted) < 2e-5


@torch.no_grad()
def test_segments_of_the_content_stream_agree(pair: tuple[Any, Transformer]) -> None:
    reference, core = pair
    inputs, batch, _ = _inputs(True)
    named = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    wanted = reference(**named).logits[inputs["attention_mask"].bool()]
    assert error(core(batch).logits, wanted) < 2e-5
    # Only whether segments are equal matters.
    other = Batch.from_padded(
        inputs["input_ids"], inputs["attention_mask"], segments=3 - 2 * inputs["token_type_ids"]
    )
    assert torch.equal(core(other).logits, core(batch).logits)
    plain = Batch.from_padded(inputs["input_ids"], inputs["attention_mask"])
    assert error(core(plain).logits, wanted) > 1e-3


@torch.no_grad()
def test_each_part_of_the_attention_is_needed(pair: tuple[Any, Transformer]) -> None:
    _, core = pair
    _, batch, streams = _inputs(True)
    wanted = two_stream_logits(core, batch, streams)
    weights = core.state_dict()
    parts = (
        "content_bias",
        "position_bias",
        "segment_bias",
        "segments",
        "relative.weight",
        "attention.start",
    )
    for part in parts:
        other = Transformer(core.config).eval()
        other.load_state_dict({n: torch.zeros_like(t) if n.endswith(part) else t for n, t in weights.items()})
        assert error(two_stream_logits(other, batch, streams), wanted) > 1e-3, part
    shown = Streams([torch.zeros_like(mask) for mask in streams.hidden], streams.targets)
    assert error(two_stream_logits(core, batch, shown), wanted) > 1e-3


@torch.no_grad()
def test_a_prediction_never_sees_its_own_token(pair: tuple[Any, Transformer]) -> None:
    _, core = pair
    _, batch, streams = _inputs(False)
    before = two_stream_logits(core, batch, streams)
    ids = batch.ids.clone()
    # The last of the order: everything else may be seen, so only this token must not matter.
    ids[int(streams.targets[0][1])] = 7 if ids[int(streams.targets[0][1])] != 7 else 8
    after = two_stream_logits(
        core, Batch.from_padded(batch.pad(ids), batch.pad(torch.ones_like(ids))), streams
    )
    assert torch.equal(after[1], before[1])


@torch.no_grad()
def test_a_query_that_sees_nothing_is_finite(pair: tuple[Any, Transformer]) -> None:
    _, core = pair
    batch = Batch.from_padded(torch.tensor([[7]]))
    streams = Streams.by_order([torch.tensor([0])], [torch.tensor([0])])
    assert two_stream_logits(core, batch, streams).isfinite().all()


def test_what_does_not_fit_is_refused(pair: tuple[Any, Transformer], tmp_path: Path) -> None:
    _, core = pair
    _, batch, streams = _inputs(False)
    with pytest.raises(InputError, match="3 documents need as many"):
        two_stream_logits(core, batch, Streams(streams.hidden[:2], streams.targets[:2]))
    with pytest.raises(InputError, match="document 1 do not fit its 5 tokens"):
        two_stream_logits(core, batch, Streams(streams.hidden, [torch.tensor([9])] * 3))
    sizes: dict[str, Any] = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    with pytest.raises(ConfigError, match="mixer two_stream"):
        two_stream_logits(Transformer(CoreConfig(**sizes, head="linear")), batch, streams)
    with pytest.raises(ConfigError, match="causal=True"):
        Transformer(CoreConfig(**sizes, position="none", causal=True, mixer="two_stream"))
    with pytest.raises(ConfigError, match="clamp_len: 40 is not supported"):
        xlnet.core_config({**EXAMPLES["xlnet"][0], "clamp_len": 40})
    with pytest.raises(ConfigError, match="dropout of two_stream"):
        Transformer(
            CoreConfig(
                **sizes, position="none", mixer="two_stream", mixer_options={"two_stream": {"dropout": 1.0}}
            )
        )
