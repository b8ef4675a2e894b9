"""Small ``config.json`` dictionaries of encoders, which between them turn every switch of their family."""

from __future__ import annotations

from typing import Any

_ALBERT = {"vocab_size": 40, "hidden_size": 32, "embedding_size": 12, "num_attention_heads": 4}
ALBERT: list[dict[str, Any]] = [
    {**_ALBERT, "num_hidden_layers": 3, "intermediate_size": 48, "max_position_embeddings": 40},
    {
        **_ALBERT,
        "architectures": ["AlbertModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 30,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu",
    },
]

_AMPLIFY = {
    "model_type": "AMPLIFY",
    "architectures": ["AMPLIFY"],
    "vocab_size": 27,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 60,
    "max_length": 64,
    "pad_token_id": 0,
    "hidden_act": "SwiGLU",
    "rms_norm": True,
    "norm_eps": 1e-5,
}
AMPLIFY: list[dict[str, Any]] = [
    {**_AMPLIFY, "num_hidden_layers": 2, "layer_norm_after_embedding": False},
    {
        **_AMPLIFY,
        "num_hidden_layers": 1,
        "layer_norm_after_embedding": True,
        "att_bias": True,
        "ffn_bias": True,
    },
]

_BART = {
    "architectures": ["BartEncoder"],
    "vocab_size": 40,
    "d_model": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}
# Small `config.json` dictionaries of encoder and decoder.
BART_PAIRS: list[dict[str, Any]] = [
    {**_BART, "encoder_layers": 3, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40},
    {
        **_BART,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "scale_embedding": True,
        "activation_function": "relu",
        "decoder_attention_heads": 2,
    },
]

_BERT = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 40}
BERT: list[dict[str, Any]] = [
    {**_BERT, "num_hidden_layers": 2, "intermediate_size": 48, "type_vocab_size": 2, "pad_token_id": 0},
    {
        **_BERT,
        "num_hidden_layers": 1,
        "intermediate_size": 24,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "tie_word_embeddings": False,
    },
    {
        **_BERT,
        "architectures": ["BertModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "hidden_act": "relu",
    },
]

_DINOV2 = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 2}
DINOV2: list[dict[str, Any]] = [
    {**_DINOV2, "image_size": 8, "mlp_ratio": 2},
    {**_DINOV2, "image_size": 6, "mlp_ratio": 3, "num_channels": 1, "use_swiglu_ffn": True},
]

_DNABERT2 = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 512,
    "alibi_starting_size": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
# Small `config.json` dictionaries; heads that are no power of two have ALiBi slopes of another rule.
DNABERT2: list[dict[str, Any]] = [
    {**_DNABERT2, "num_hidden_layers": 2, "num_attention_heads": 3},
    {**_DNABERT2, "num_hidden_layers": 1, "num_attention_heads": 4, "hidden_act": "relu"},
]

_ESM = {
    "vocab_size": 33,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "mask_token_id": 32,
}
# Small `config.json` dictionaries of ESM-2, ESM-1b and an untied relative.
ESM: list[dict[str, Any]] = [
    {**_ESM, "position_embedding_type": "rotary", "max_position_embeddings": 1026, "token_dropout": True},
    {
        **_ESM,
        "position_embedding_type": "absolute",
        "max_position_embeddings": 40,
        "token_dropout": True,
        "emb_layer_norm_before": True,
    },
    {
        **_ESM,
        "position_embedding_type": "rotary",
        "max_position_embeddings": 40,
        "rope_theta": 500.0,
        "tie_word_embeddings": False,
    },
]

_ESMC = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 64}
ESMC: list[dict[str, Any]] = [
    {**_ESMC, "num_hidden_layers": 3, "intermediate_size": 40, "rope_theta": 10000.0},
    {
        **_ESMC,
        "architectures": ["EsmcModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "rope_theta": 300.0,
    },
]

_GENA = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "pre_layer_norm": True,
    "vocab_size": 40,
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "pad_token_id": 3,
}
# Small `config.json` dictionaries, without and with a norm at the end.
GENA: list[dict[str, Any]] = [
    {**_GENA, "num_hidden_layers": 2, "layer_norm_eps": 1e-12, "last_layer_norm": False},
    {**_GENA, "num_hidden_layers": 1, "layer_norm_eps": 1e-5, "last_layer_norm": True},
]

_MODERNBERT = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
MODERNBERT: list[dict[str, Any]] = [
    {
        **_MODERNBERT,
        "num_hidden_layers": 3,
        "intermediate_size": 40,
        "local_attention": 9,
        "global_attn_every_n_layers": 2,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 500.0,
    },
    {
        **_MODERNBERT,
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "local_attention": 6,
        "global_attn_every_n_layers": 2,
        "norm_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "classifier_bias": True,
        "decoder_bias": False,
        "hidden_activation": "silu",
        "classifier_activation": "relu",
        "tie_word_embeddings": False,
    },
]

_NTV2 = {
    "model_type": "esm",
    "architectures": ["EsmForMaskedLM"],
    "add_bias_fnn": False,
    "vocab_size": 40,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
    "mask_token_id": 2,
    "position_embedding_type": "rotary",
    "max_position_embeddings": 50,
    "token_dropout": False,
}
NTV2: list[dict[str, Any]] = [
    {**_NTV2, "num_hidden_layers": 3, "tie_word_embeddings": False},
    {**_NTV2, "num_hidden_layers": 1, "token_dropout": True, "tie_word_embeddings": True},
]

_ROBERTA = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
ROBERTA: list[dict[str, Any]] = [
    {**_ROBERTA, "num_hidden_layers": 2, "max_position_embeddings": 40, "layer_norm_eps": 1e-5},
    {
        **_ROBERTA,
        "num_hidden_layers": 1,
        "max_position_embeddings": 30,
        "type_vocab_size": 1,
        "hidden_act": "gelu_new",
        "pad_token_id": 3,
        "tie_word_embeddings": False,
    },
]

_T5 = {
    "architectures": ["T5EncoderModel"],
    "vocab_size": 40,
    "d_model": 32,
    "d_kv": 6,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}
# Small `config.json` dictionaries of T5 and T5 1.1.
T5: list[dict[str, Any]] = [
    {**_T5, "num_layers": 3, "d_ff": 48},
    {**_T5, "num_layers": 2, "d_ff": 24, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
]


_VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VIT: list[dict[str, Any]] = [
    {**_VIT, "image_size": 12, "patch_size": 4, "num_channels": 3},
    {**_VIT, "image_size": 8, "patch_size": 2, "num_channels": 1, "qkv_bias": False, "hidden_act": "relu"},
]

_XLNET = {"vocab_size": 40, "d_inner": 24, "mem_len": None, "pad_token_id": 5}
XLNET: list[dict[str, Any]] = [
    {**_XLNET, "d_model": 16, "n_layer": 3, "n_head": 4},
    {**_XLNET, "d_model": 24, "n_layer": 2, "n_head": 2, "ff_activation": "relu", "layer_norm_eps": 1e-5},
]
