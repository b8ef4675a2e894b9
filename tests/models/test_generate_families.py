"""Greedy generation of every decoder family against ``transformers.generate``, prompt by prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import cases, full_example, make_core_config, make_reference, perturb

from biolm.core import SamplingOptions, generate
from biolm.models.families.hf import from_hf
from biolm.models.families.t5 import load_seq2seq

transformers = pytest.importorskip("transformers")

TOKENS = 18


def _decoders() -> list[tuple[str, int]]:
    # ProGen2 is no class of transformers; its reference here computes logits alone.
    return [case for case in cases() if make_core_config(*case).causal and case[0] != "progen"]


def _reference(model: torch.nn.Module, prompts: list[list[int]]) -> list[list[int]]:
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS, pad_token_id=0
        )
        found.append(out[0, len(prompt) :].tolist())
    return found


def _quiet_biases(model: torch.nn.Module) -> None:
    """Random biases let a model write one and the same token whatever it reads."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter *= 0.1


def _prompts(size: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    # Longer than every window, of one token, and between; the longest read in pieces below.
    return [torch.randint(size, (n,), generator=generator).tolist() for n in (3, 20, 1, 9)]


@pytest.mark.parametrize(("model_type", "number"), _decoders())
def test_greedy_equals_transformers(model_type: str, number: int, tmp_path: Path) -> None:
    example = {**full_example(model_type, number), "bos_token_id": None, "eos_token_id": None}
    reference = make_reference(model_type, example)
    _quiet_biases(reference)
    reference.save_pretrained(tmp_path)  # type: ignore[operator]
    core = from_hf(tmp_path)
    prompts = _prompts(core.config.vocab_size)
    wanted = _reference(reference, prompts)
    assert len({token for ids in wanted for token in ids}) > 4
    for settings in ({}, {"batch_size": 2, "chunk_tokens": 4}):
        found = generate(core, prompts, SamplingOptions(max_tokens=TOKENS, **settings))
        assert [result.ids for result in found] == wanted
    # It stops where transformers does.
    stop = wanted[1][5]
    reference.generation_config.eos_token_id = stop  # type: ignore[union-attr]
    found = generate(core, prompts, SamplingOptions(max_tokens=TOKENS, stop=[stop]))
    assert [result.ids for result in found] == _reference(reference, prompts)


def test_every_decoder_is_here() -> None:
    families = {"biogpt", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo", "gpt_neox", "gptj"}
    families |= {"llama", "mistral", "qwen3", "openai-gpt", "opt", "phi", "stablelm", "falcon", "ctrl"}
    assert families <= {name for name, _ in _decoders()}


@pytest.mark.parametrize("gated", [False, True])
def test_t5_equals_transformers(gated: bool, tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0,
        relative_attention_max_distance=16, relative_attention_num_buckets=8, eos_token_id=None,
        feed_forward_proj="gated-gelu" if gated else "relu", tie_word_embeddings=not gated,
    )  # fmt: skip
    torch.manual_seed(0)
    reference = transformers.T5ForConditionalGeneration(config).eval()
    perturb(reference)
    _quiet_biases(reference)
    reference.save_pretrained(tmp_path)
    sources = _prompts(40)
    wanted = [
        reference.generate(torch.tensor([source]), do_sample=False, max_new_tokens=TOKENS)[0, 1:].tolist()
        for source in sources
    ]
    assert len({token for ids in wanted for token in ids}) > 3
    for batch_size in (8, 2):
        options = SamplingOptions(max_tokens=TOKENS, batch_size=batch_size)
        found = generate(load_seq2seq(tmp_path), [[0]] * len(sources), options, sources=sources)
        assert [result.ids for result in found] == wanted
