"""Decoder families: what published files say in other ways, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from family_examples import EXAMPLES
from safetensors.torch import load_file, save_file

from biolm.core import CoreConfig, Transformer
from biolm.core.config import RopeScaling
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families import gemma, gpt2, gpt_neo, gpt_neox, llama, mistral, qwen3
from biolm.models.families.hf import from_hf, to_hf


def _gpt2(**changes: Any) -> dict[str, Any]:
    return {**EXAMPLES["gpt2"][0], "model_type": "gpt2", **changes}


def _llama(**changes: Any) -> dict[str, Any]:
    plain = {name: value for name, value in EXAMPLES["llama"][0].items() if not name.startswith("rope")}
    return {**plain, "model_type": "llama", **changes}


def test_the_head_is_read_from_the_architecture() -> None:
    assert gpt2.core_config(_gpt2()).head == "none"
    headed = gpt2.core_config(_gpt2(architectures=["GPT2LMHeadModel"]))
    assert (headed.head, headed.tied, headed.causal) == ("linear", True, True)
    untied = gpt2.core_config(_gpt2(architectures=["GPT2LMHeadModel"], tie_word_embeddings=False))
    assert not untied.tied
    assert not llama.core_config(_llama(architectures=["LlamaForCausalLM"])).tied


def test_both_spellings_of_rotary_scaling() -> None:
    yarn = {"factor": 4.0, "original_max_position_embeddings": 16}
    wanted = RopeScaling(kind="yarn", factor=4.0, original_length=16)
    for spelled in (
        {"rope_theta": 500.0, "rope_scaling": {"type": "yarn", **yarn}},
        {"rope_theta": 500.0, "rope_scaling": {"rope_type": "yarn", **yarn}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, **yarn}},
    ):
        config = llama.core_config(_llama(**spelled))
        assert (config.rope_theta, config.rope_scaling) == (500.0, wanted)
    # The length a file does not give is the model's own.
    short = llama.core_config(_llama(rope_scaling={"rope_type": "yarn", "factor": 2.0}))
    assert short.rope_scaling == RopeScaling(kind="yarn", factor=2.0, original_length=64)
    with pytest.raises(ConfigError, match="dynamic"):
        llama.core_config(_llama(rope_scaling={"type": "dynamic", "factor": 2.0}))


def test_partial_rotation_in_three_spellings() -> None:
    example = {name: value for name, value in EXAMPLES["gpt_neox"][0].items() if name != "rotary_pct"}
    share = {"partial_rotary_factor": 0.5, "rope_theta": 777.0}
    for spelled in ({"rotary_pct": 0.5, "rotary_emb_base": 777}, {"rope_parameters": share}):
        config = gpt_neox.core_config({**example, **spelled})
        assert (config.rope_dim, config.rope_theta) == (8, 777.0)
    assert gpt_neox.core_config(example).rope_dim == 4
    assert llama.core_config(_llama(partial_rotary_factor=0.5)).rope_dim == 4


def test_windows_by_pattern_or_list() -> None:
    two, three = (
        {name: value for name, value in example.items() if name != "layer_types"}
        for example in EXAMPLES["gemma"][1:]
    )
    assert gemma.core_config({**two, "num_hidden_layers": 5}).windowed_layers == (0, 2, 4)
    assert gemma.core_config(three).windowed_layers == (0, 1, 2, 3, 4, 6)
    assert gemma.core_config({**three, "sliding_window_pattern": 3}).windowed_layers == (0, 1, 3, 4, 6)
    kinds = ["full_attention", "sliding_attention"]
    assert gemma.core_config({**two, "layer_types": kinds}).windowed_layers == (1,)
    assert gemma.core_config({**two, "layer_types": kinds[:1] * 2}).window == 0
    with pytest.raises(ConfigError, match="chunked_attention"):
        gemma.core_config({**two, "layer_types": ["chunked_attention"] * 2})
    sliding = EXAMPLES["qwen3"][1]
    assert qwen3.core_config(sliding).windowed_layers == (1, 2)
    assert qwen3.core_config({**sliding, "use_sliding_window": False}).window == 0
    assert mistral.core_config({**EXAMPLES["mistral"][0], "sliding_window": None}).window == 0
    assert gpt_neo.core_config(EXAMPLES["gpt_neo"][0]).windowed_layers == (1, 3)


def test_rotary_positions_of_windowed_layers_in_both_spellings() -> None:
    example = {name: value for name, value in EXAMPLES["gemma"][2].items() if not name.startswith("rope")}
    linear = {"rope_type": "linear", "factor": 8.0}
    old = {"rope_theta": 5e5, "rope_local_base_freq": 300.0, "rope_scaling": linear}
    new = {
        "rope_parameters": {
            "full_attention": {**linear, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
        }
    }
    assert gemma.core_config({**example, **old}) == gemma.core_config({**example, **new})
    plain = gemma.core_config(example)
    assert (plain.rope_theta, plain.rope_theta_local, plain.rope_scaling) == (1e6, 1e4, None)
    stretched = {"sliding_attention": linear, "full_attention": linear}
    with pytest.raises(ConfigError, match="windowed layers"):
        gemma.core_config({**example, "rope_parameters": stretched})


@pytest.mark.parametrize(
    ("read", "config", "message"),
    [
        (gpt2.core_config, _gpt2(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
        (gpt2.core_config, _gpt2(activation_function="mish"), "mish"),
        (gemma.core_config, {**EXAMPLES["gemma"][0], "use_bidirectional_attention": True}, "bidirectional"),
        (llama.core_config, _llama(num_key_value_heads=3), "n_kv_heads"),
    ],
)
def test_what_the_core_is_not_is_refused(read: Any, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(config)


def _saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = gpt2.core_config(_gpt2(architectures=["GPT2LMHeadModel"]))
    to_hf(Transformer(config), tmp_path, "gpt2")
    return tmp_path


def test_causal_buffers_are_dropped_but_no_bias(tmp_path: Path) -> None:
    """A loose filter for ``attn.bias`` once took ``c_attn.bias`` with it."""
    folder = _saved(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    assert "transformer.h.0.attn.c_attn.bias" in tensors
    before = from_hf(folder).state_dict()
    for layer in range(3):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 40, 40)
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, folder / "model.safetensors")
    after = from_hf(folder).state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    del tensors["transformer.h.0.attn.c_attn.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"h\.0\.attn\.c_attn\.bias"):
        from_hf(folder)


def test_weights_without_the_prefix_load(tmp_path: Path) -> None:
    """GPT-2's first published files have none."""
    folder = _saved(tmp_path)
    before = from_hf(folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    save_file({n.removeprefix("transformer."): t for n, t in tensors.items()}, folder / "model.safetensors")
    assert all(
        torch.equal(*pair)
        for pair in zip(from_hf(folder).state_dict().values(), before.values(), strict=True)
    )


def test_a_type_that_cannot_say_it_all_is_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": 40, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24, "position": "rope"}
    shape = {"norm": "rmsnorm", "norm_eps": 1e-6, "glu": True, "activation": "silu", "qkv_bias": False}
    biases = {"out_bias": False, "mlp_bias": False, "mlp_out_bias": False}
    config = CoreConfig(**sizes, **shape, **biases, causal=True, head="linear", tied=False, window=6)
    to_hf(Transformer(config), tmp_path / "mistral", "mistral")
    assert from_hf(tmp_path / "mistral").config == config
    with pytest.raises(ConfigError, match="llama model cannot have window=6"):
        to_hf(Transformer(config), tmp_path / "llama", "llama")
    assert not (tmp_path / "llama").exists()


@pytest.mark.parametrize(("given", "wanted"), [(-1, None), (None, None), (0, 0), (7, 7)])
def test_minus_one_says_that_no_token_pads(given: int | None, wanted: int | None) -> None:
    assert llama.core_config(_llama(pad_token_id=given)).pad_id == wanted


def test_names_of_first_releases() -> None:
    from biolm.models.families import falcon, phi
    from biolm.models.families.hf import type_of

    old = {"n_embed": 32, "n_head": 4, "n_layer": 2, "vocab_size": 40, "multi_query": True, "n_head_kv": 2}
    assert type_of({"model_type": "RefinedWebModel"}) == "falcon"
    assert falcon.core_config(old).n_kv_heads == 1
    assert falcon.core_config({**old, "new_decoder_architecture": True}).n_kv_heads == 2
    with pytest.raises(ConfigError, match="phi-msft"):
        phi.core_config({"model_type": "phi-msft"})
    assert type_of({"model_type": "phi-msft"}) == "phi"


def test_ctrl_begins_with_a_control_code() -> None:
    from dataclasses import replace

    from biolm.core import SamplingOptions, generate
    from biolm.errors import InputError
    from biolm.models.families import ctrl

    assert len(ctrl.CONTROL_CODES) == 55
    example = {**EXAMPLES["ctrl"][0], "architectures": ["CTRLLMHeadModel"]}
    whole = ctrl.core_config({**example, "vocab_size": 246_534})
    assert whole.begin_ids is not None
    assert set(whole.begin_ids) == set(ctrl.CONTROL_CODES.values())
    model = Transformer(replace(ctrl.core_config(example), begin_ids=(5, 9)))
    options = SamplingOptions(max_tokens=2, repetition_penalty=1.2)
    assert len(generate(model, [[9, 1]], options)[0].ids) == 2
    with pytest.raises(
        InputError, match="prompt 1 begins with id 1, but this model needs one of its 2 control"
    ):
        generate(model, [[5], [1, 9]], options)
