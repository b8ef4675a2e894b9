"""Full T5 against ``transformers``: packed cross-attention between documents of different lengths."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from family_examples import EXAMPLES
from flips import LEAST_CHANGE, flipped_models
from parity import error, make_reference
from safetensors.torch import load_file, save_file
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig
from biolm.core.seq2seq import EncoderDecoder
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.models.families import t5
from biolm.models.families.hf import from_hf

pytest.importorskip("transformers")

# Two stacks of weights far from their start: float32 is off from float64 by 1e-5 to 7e-5, ours and theirs, as
# the kernels of the processor round (AVX-512, AVX2, the plainest of MKL).
ROUNDING = 2e-4
SOURCES, TARGETS = (17, 1, 24, 9), (3, 8, 1, 12)
PAIRS = [
    {**EXAMPLES["t5"][0], "num_decoder_layers": 2},
    {**EXAMPLES["t5"][1], "num_decoder_layers": 3},
]


@dataclass
class Pair:
    folder: Path
    reference: Any
    model: EncoderDecoder
    source: Batch
    target: Batch
    inputs: dict[str, Tensor]
    keep: Tensor


def documents(lengths: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 40, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@pytest.fixture(scope="module", params=[0, 1], ids=["relu-scaled", "gated"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    example = {
        **PAIRS[request.param],
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
    }
    reference = make_reference("t5", example)
    folder = tmp_path_factory.mktemp("t5")
    reference.save_pretrained(folder)  # type: ignore[operator]
    ids, mask = documents(SOURCES, 1)
    target, target_mask = documents(TARGETS, 2)
    inputs = {
        "input_ids": ids,
        "attention_mask": mask.long(),
        "decoder_input_ids": target,
        "decoder_attention_mask": target_mask.long(),
    }
    batches = Batch.from_padded(ids, mask), Batch.from_padded(target, target_mask)
    return Pair(folder, reference, t5.load_seq2seq(folder), *batches, inputs, target_mask)


@torch.no_grad()
def reference_of(pair: Pair, precision: torch.dtype = torch.float32) -> Any:
    reference = copy.deepcopy(pair.reference).to(precision)
    return reference(**pair.inputs, output_hidden_states=True)


# In float64 the norms of the reference, which are float32 there too, leave 1.4e-5 on every processor.
@pytest.mark.parametrize(
    ("precision", "most"), [(torch.float32, ROUNDING), (torch.float64, 2e-5)], ids=["float32", "float64"]
)
@torch.no_grad()
def test_states_and_logits_agree(pair: Pair, precision: torch.dtype, most: float) -> None:
    wanted = reference_of(pair, precision)
    found = copy.deepcopy(pair.model).to(precision)(pair.source, pair.target, hidden_states=True)
    states = [state[pair.keep] for state in wanted.decoder_hidden_states]
    assert len(found.hidden_states) == len(states)
    for ours, theirs in zip(found.hidden_states, states, strict=True):
        assert error(ours, theirs) < most
    assert error(found.logits, wanted.logits[pair.keep]) < most


@torch.no_grad()
def test_flips_of_encoder_and_decoder_show(pair: Pair) -> None:
    wanted = pair.model(pair.source, pair.target).logits
    memory = pair.model.encode(pair.source)
    changes = {}
    for name, flipped in flipped_models(pair.model.encoder):
        states = flipped(pair.source).last_hidden_state
        changes["encoder", name] = error(pair.model.decode(pair.target, states, pair.source).logits, wanted)
    whole = pair.model.decoder
    for name, flipped in flipped_models(whole):
        pair.model.decoder = flipped
        changes["decoder", name] = error(pair.model.decode(pair.target, memory, pair.source).logits, wanted)
    pair.model.decoder = whole
    assert len(changes) > 20
    assert not {name: c for name, c in changes.items() if c <= LEAST_CHANGE.get(name[1], 1e-3)}


@torch.no_grad()
def test_a_document_reads_its_own_source_alone(pair: Pair) -> None:
    whole = pair.model(pair.source, pair.target).logits
    for i, (start, end) in enumerate(zip(pair.target.offsets[:-1], pair.target.offsets[1:], strict=True)):
        source = Batch.from_padded(pair.inputs["input_ids"][i : i + 1, : SOURCES[i]])
        target = Batch.from_padded(pair.inputs["decoder_input_ids"][i : i + 1, : TARGETS[i]])
        assert error(pair.model(source, target).logits, whole[start:end]) < ROUNDING


def test_written_back_it_loads_and_agrees(pair: Pair, tmp_path: Path) -> None:
    from transformers import T5ForConditionalGeneration

    t5.save_seq2seq(pair.model, tmp_path)
    again, report = T5ForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched"))
    with torch.no_grad():
        found = again.eval()(**pair.inputs).logits
    assert error(found[pair.keep], reference_of(pair).logits[pair.keep]) < 1e-5


def test_a_head_of_its_own_is_honoured(pair: Pair, tmp_path: Path) -> None:
    """T5 1.1 on the hub: the file holds a matrix for the head."""
    matrix = torch.randn(40, 32, generator=torch.Generator().manual_seed(5))
    tensors = load_file(pair.folder / "model.safetensors")
    save_file({**tensors, "lm_head.weight": matrix}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((pair.folder / "config.json").read_bytes())
    model = t5.load_seq2seq(tmp_path)
    with torch.no_grad():
        found = model(pair.source, pair.target)
    scale = model.decoder.config.logit_scale
    assert torch.allclose(found.logits, found.last_hidden_state * scale @ matrix.T, atol=1e-5)
    t5.save_seq2seq(model, tmp_path / "back")
    assert torch.equal(load_file(tmp_path / "back" / "model.safetensors")["lm_head.weight"], matrix)


def test_the_encoder_loads_from_a_whole_folder(pair: Pair) -> None:
    encoder = from_hf(pair.folder)
    assert encoder.config.head == "none"
    assert torch.equal(encoder(pair.source).last_hidden_state, pair.model.encode(pair.source))


def test_wrong_weights_are_named(pair: Pair, tmp_path: Path) -> None:
    tensors = load_file(pair.folder / "model.safetensors")
    name = "decoder.block.1.layer.1.EncDecAttention.k.weight"
    save_file({key: tensors[key] for key in tensors if key != name}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((pair.folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="missing " + name.replace(".", r"\.")):
        t5.load_seq2seq(tmp_path)


def test_streams_that_do_not_fit_are_refused(pair: Pair) -> None:
    short = Batch.from_padded(pair.inputs["decoder_input_ids"][:2])
    with pytest.raises(InputError, match="2 documents and the memory 4"):
        pair.model(pair.source, short)


def test_stacks_that_do_not_fit_are_refused() -> None:
    sizes: dict[str, Any] = {"vocab_size": 9, "n_layers": 1, "n_heads": 2, "d_ff": 8}
    encoder = CoreConfig(**sizes, d_model=8)
    with pytest.raises(ConfigError, match="cross_attention"):
        EncoderDecoder(encoder, CoreConfig(**sizes, d_model=8, causal=True))
    with pytest.raises(ConfigError, match="d_model must be the same"):
        EncoderDecoder(encoder, CoreConfig(**sizes, d_model=16, causal=True, cross_attention=True))
