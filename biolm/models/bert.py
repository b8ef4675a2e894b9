"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and a masked-token head.

Source of shapes and names: ``transformers`` ``BertForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}

# transformers 5 may write a norm's weight and bias as gamma and beta, as TensorFlow did.
_NORMS = (
    ("embeddings.LayerNorm", "embeddings.norm"),
    ("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
    ("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_norm"),
    ("/cls.predictions.transform.LayerNorm", "head.norm"),
)
_NORM_KEYS = [
    Key(f"{theirs}.{new}", f"{ours}.{new}", also=(f"{theirs}.{old}",))
    for theirs, ours in _NORMS
    for new, old in (("weight", "gamma"), ("bias", "beta"))
]

KEYS = KeyTable(
    [
        Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
        Key("embeddings.position_embeddings.weight", "embeddings.position.weight"),
        Key("embeddings.token_type_embeddings.weight", "embeddings.segment.weight"),
        Key("encoder.layer.{}.attention.self.query.*", "layers.{}.attention.query.*"),
        Key("encoder.layer.{}.attention.self.key.*", "layers.{}.attention.key.*"),
        Key("encoder.layer.{}.attention.self.value.*", "layers.{}.attention.value.*"),
        Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
        Key("encoder.layer.{}.intermediate.dense.*", "layers.{}.mlp.up.*"),
        Key("encoder.layer.{}.output.dense.*", "layers.{}.mlp.down.*"),
        Key("/cls.predictions.transform.dense.*", "head.dense.*"),
        Key("/cls.predictions.bias", "head.bias"),
        *_NORM_KEYS,
        # Copies of tied weights, buffers, and parts that no embedding needs.
        *dropped(
            "embeddings.position_ids",
            "pooler.dense.*",
            "/cls.predictions.decoder.*",
            "/cls.seq_relationship.*",
        ),
    ],
    prefixes=("bert.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a BERT ``config.json``."""
    headed = any("MaskedLM" in name or "PreTraining" in name for name in config.get("architectures") or [])
    return CoreConfig(
        vocab_size=config["vocab_size"],
        d_model=config["hidden_size"],
        n_layers=config["num_hidden_layers"],
        n_heads=config["num_attention_heads"],
        d_ff=config["intermediate_size"],
        max_length=config["max_position_embeddings"],
        n_segments=config.get("type_vocab_size", 2),
        pad_id=config.get("pad_token_id"),
        embed_norm=True,
        norm_eps=config.get("layer_norm_eps", 1e-12),
        block="post",
        activation=_ACTIVATIONS[config.get("hidden_act", "gelu")],  # type: ignore[arg-type]  # checked there
        head="mlm" if headed else "none",
        head_activation=_ACTIVATIONS[config.get("hidden_act", "gelu")],  # type: ignore[arg-type]
        head_bias=headed,
        dropout_embed=config.get("hidden_dropout_prob", 0.0),
        dropout_residual=config.get("hidden_dropout_prob", 0.0),
        dropout_attention=config.get("attention_probs_dropout_prob", 0.0),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "architectures": ["BertForMaskedLM" if config.head == "mlm" else "BertModel"],
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_length,
        "type_vocab_size": config.n_segments,
        "pad_token_id": config.pad_id,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": names[config.activation],
        "hidden_dropout_prob": config.dropout_residual,
        "attention_probs_dropout_prob": config.dropout_attention,
    }
