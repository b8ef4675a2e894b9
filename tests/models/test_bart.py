"""BART against ``transformers``: encoder, decoder, cross-attention and generation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_examples import BART_PAIRS
from flips import LEAST_CHANGE, flipped_models
from parity import error, make_reference
from safetensors.torch import load_file, save_file
from torch import Tensor

from biolm.batch import Batch
from biolm.core import SamplingOptions, generate
from biolm.core.seq2seq import EncoderDecoder
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families import bart
from biolm.models.families.hf import from_hf

pytest.importorskip("transformers")

SOURCES, TARGETS = (17, 1, 24, 9), (3, 8, 1, 12)


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
    ids = torch.randint(3, 40, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@pytest.fixture(scope="module", params=[0, 1], ids=["gelu", "relu-scaled"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    example = {
        **BART_PAIRS[request.param],
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
    }
    reference = make_reference("bart", example)
    with torch.no_grad():
        reference.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))  # type: ignore[operator, union-attr]
    folder = tmp_path_factory.mktemp("bart")
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
    return Pair(folder, reference, bart.load_seq2seq(folder), *batches, inputs, target_mask)


@torch.no_grad()
def test_states_and_logits_agree(pair: Pair) -> None:
    wanted = pair.reference(**pair.inputs, output_hidden_states=True)
    found = pair.model(pair.source, pair.target, hidden_states=True)
    states = [state[pair.keep] for state in wanted.decoder_hidden_states]
    assert len(found.hidden_states) == len(states)
    for ours, theirs in zip(found.hidden_states, states, strict=True):
        assert error(ours, theirs) < 2e-5
    assert error(found.logits, wanted.logits[pair.keep]) < 2e-5
    mask = pair.inputs["attention_mask"].bool()
    assert error(pair.model.encode(pair.source), wanted.encoder_last_hidden_state[mask]) < 2e-5


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


def test_generation_is_that_of_the_reference(pair: Pair) -> None:
    start = bart.start_ids({"decoder_start_token_id": 2, "forced_bos_token_id": 0})
    assert start == [2, 0]
    lengths, ids = SOURCES[:1], pair.inputs["input_ids"]
    results = generate(
        pair.model, [start], SamplingOptions(max_tokens=8), sources=[ids[0, : lengths[0]].tolist()]
    )
    tokens = list(start)
    with torch.no_grad():
        for _ in range(8):
            logits = pair.reference(
                input_ids=ids[:1, : lengths[0]], decoder_input_ids=torch.tensor([tokens])
            ).logits
            tokens.append(int(logits[0, -1].argmax()))
    assert [*start, *results[0].ids] == tokens


def test_written_back_it_loads_and_agrees(pair: Pair, tmp_path: Path) -> None:
    from transformers import BartForConditionalGeneration

    bart.save_seq2seq(pair.model, tmp_path)
    again, report = BartForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    with torch.no_grad():
        found = again.eval()(**pair.inputs).logits
        wanted = pair.reference(**pair.inputs).logits
    assert error(found[pair.keep], wanted[pair.keep]) < 1e-5


def test_the_encoder_loads_alone(pair: Pair) -> None:
    encoder = from_hf(pair.folder)
    with torch.no_grad():
        assert error(encoder(pair.source).last_hidden_state, pair.model.encode(pair.source)) < 1e-6


def test_faults_are_named(pair: Pair, tmp_path: Path) -> None:
    tensors = load_file(pair.folder / "model.safetensors")
    name = "model.decoder.layers.1.encoder_attn.k_proj.weight"
    save_file({key: tensors[key] for key in tensors if key != name}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((pair.folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="missing " + name.replace(".", r"\.")):
        bart.load_seq2seq(tmp_path)
    with pytest.raises(ConfigError, match="post-norm"):
        bart.core_config({**BART_PAIRS[0], "normalize_before": True})
