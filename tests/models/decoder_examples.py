"""Small ``config.json`` dictionaries of decoders, which between them turn every switch of their family."""

from __future__ import annotations

from typing import Any

_BIOGPT = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}
BIOGPT: list[dict[str, Any]] = [
    {**_BIOGPT, "num_hidden_layers": 3, "max_position_embeddings": 40},
    {**_BIOGPT, "num_hidden_layers": 2, "max_position_embeddings": 64, "scale_embedding": False},
]

CTRL: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 40, "dff": 24},
    {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "dff": 40},
]

_FALCON = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 40}
# Small `config.json` dictionaries of the four layouts.
FALCON: list[dict[str, Any]] = [
    {**_FALCON, "num_hidden_layers": 3, "multi_query": True, "parallel_attn": True, "num_kv_heads": 4},
    {**_FALCON, "num_hidden_layers": 2, "new_decoder_architecture": True, "num_kv_heads": 2},
    {
        **_FALCON,
        "num_hidden_layers": 2,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "num_ln_in_parallel_attn": 1,
        "ffn_hidden_size": 48,
    },
    {
        **_FALCON,
        "num_hidden_layers": 2,
        "multi_query": False,
        "parallel_attn": False,
        "alibi": True,
        "bias": True,
    },
]

_GEMMA = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
_GEMMA_2 = {**_GEMMA, "query_pre_attn_scalar": 5, "sliding_window": 6}
GEMMA: list[dict[str, Any]] = [
    {**_GEMMA, "model_type": "gemma", "hidden_act": "gelu", "num_key_value_heads": 1},
    {**_GEMMA_2, "model_type": "gemma2", "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    {
        **_GEMMA_2,
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "rope_theta": 5000.0,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
]

GPT1: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 2, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 40, "afn": "relu"},
]

GPT2: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 40},
    {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "activation_function": "relu"},
]

_GPT_NEO = {"vocab_size": 40, "hidden_size": 16, "num_heads": 4, "max_position_embeddings": 40}
GPT_NEO: list[dict[str, Any]] = [
    {**_GPT_NEO, "num_layers": 4, "attention_types": [[["global", "local"], 2]], "window_size": 5},
    {**_GPT_NEO, "num_layers": 2, "attention_types": [[["global"], 2]], "intermediate_size": 24},
]

_GPT_NEOX = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
GPT_NEOX: list[dict[str, Any]] = [
    {**_GPT_NEOX, "num_hidden_layers": 3, "rotary_pct": 0.25, "max_position_embeddings": 40},
    {
        **_GPT_NEOX,
        "num_hidden_layers": 2,
        "use_parallel_residual": False,
        "attention_bias": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
    },
]

GPTJ: list[dict[str, Any]] = [
    {"vocab_size": 40, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40, "rotary_dim": 4},
    {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "rotary_dim": 8},
]

_LLAMA = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_LLAMA_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LLAMA: list[dict[str, Any]] = [
    {**_LLAMA, "num_key_value_heads": 2, "rope_theta": 100.0, "rope_scaling": _LLAMA_ROPE, "head_dim": 8},
    {**_LLAMA, "attention_bias": True, "mlp_bias": True, "rope_scaling": {"type": "linear", "factor": 4.0}},
    {
        **_LLAMA,
        "tie_word_embeddings": True,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
]

_MISTRAL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MISTRAL: list[dict[str, Any]] = [
    {**_MISTRAL, "sliding_window": 6, "max_position_embeddings": 64, "rope_theta": 1000.0},
    {**_MISTRAL, "sliding_window": None, "head_dim": 8, "max_position_embeddings": 64},
]

_OPT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "ffn_dim": 24,
    "max_position_embeddings": 40,
}
OPT: list[dict[str, Any]] = [
    {**_OPT, "num_hidden_layers": 3},
    {**_OPT, "num_hidden_layers": 2, "do_layer_norm_before": False, "word_embed_proj_dim": 8},
    {**_OPT, "num_hidden_layers": 2, "enable_bias": False, "activation_function": "gelu"},
]

_PHI = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
PHI: list[dict[str, Any]] = [
    {**_PHI, "num_hidden_layers": 3, "partial_rotary_factor": 0.5},
    {**_PHI, "num_hidden_layers": 2, "num_key_value_heads": 2, "partial_rotary_factor": 0.75},
]

_PROGEN2 = {
    "model_type": "progen",
    "architectures": ["ProGenForCausalLM"],
    "vocab_size": 32,
    "n_embd": 64,
    "n_positions": 40,
    "rotary_dim": 4,
}
PROGEN2: list[dict[str, Any]] = [
    {**_PROGEN2, "n_layer": 2, "n_head": 16},
    {**_PROGEN2, "n_layer": 3, "n_head": 8, "layer_norm_epsilon": 1e-6},
]

_QWEN3 = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
QWEN3: list[dict[str, Any]] = [
    {**_QWEN3, "rope_theta": 1000.0},
    {
        **_QWEN3,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
        "attention_bias": True,
    },
]

_STABLELM = {
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
}
STABLELM: list[dict[str, Any]] = [
    {**_STABLELM, "num_hidden_layers": 3, "use_qkv_bias": True},
    {**_STABLELM, "num_hidden_layers": 2, "use_parallel_residual": True, "partial_rotary_factor": 0.5},
    {**_STABLELM, "num_hidden_layers": 2, "qk_layernorm": True},
]
