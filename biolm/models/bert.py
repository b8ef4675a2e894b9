"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and a masked-token head.

ProtBERT and GROVER are of this family too. Source of shapes and names: ``transformers`` ``BertForMaskedLM``.
"""

from __future__ import annotations

from typing import Any

from biolm.core.config import CoreConfig
from biolm.models.fields import activation, activation_name, has_head, tied
from biolm.models.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["EXAMPLES", "KEYS", "core_config", "hf_config"]

_SMALL = {"vocab_size": 40, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 40}
EXAMPLES: list[dict[str, Any]] = [
    {**_SMALL, "num_hidden_layers": 2, "intermediate_size": 48, "type_vocab_size": 2, "pad_token_id": 0},
    {
        **_SMALL,
        "num_hidden_layers": 1,
        "intermediate_size": 24,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_act": "gelu_new",
        "tie_word_embeddings": False,
    },
    {
        **_SMALL,
        "architectures": ["BertModel"],
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "hidden_act": "relu",
    },
]
"""Small ``config.json`` dictionaries that between them turn every switch of the family."""

KEYS = KeyTable(
    [
        Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
        Key("embeddings.position_embeddings.weight", "embeddings.position.weight"),
        Key("embeddings.token_type_embeddings.weight", "embeddings.segment.weight"),
        *norm_keys("embeddings.LayerNorm", "embeddings.norm"),
        Key("encoder.layer.{}.attention.self.query.*", "layers.{}.attention.query.*"),
        Key("encoder.layer.{}.attention.self.key.*", "layers.{}.attention.key.*"),
        Key("encoder.layer.{}.attention.self.value.*", "layers.{}.attention.value.*"),
        Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
        *norm_keys("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
        Key("encoder.layer.{}.intermediate.dense.*", "layers.{}.mlp.up.*"),
        Key("encoder.layer.{}.output.dense.*", "layers.{}.mlp.down.*"),
        *norm_keys("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_norm"),
        Key("/cls.predictions.transform.dense.*", "head.dense.*"),
        *norm_keys("/cls.predictions.transform.LayerNorm", "head.norm"),
        Key("/cls.predictions.bias", "head.bias", when=lambda core: core.tied),
        Key("/cls.predictions.decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        # Untied, the file holds both biases, and it is the decoder's own that counts.
        Key("/cls.predictions.decoder.bias", "head.bias", when=lambda core: not core.tied),
        # Copies of tied weights, buffers, and parts that no embedding needs.
        *dropped(
            "embeddings.position_ids",
            "pooler.dense.*",
            "/cls.predictions.decoder.*",
            "/cls.predictions.bias",
            "/cls.seq_relationship.*",
        ),
    ],
    prefixes=("bert.", ""),
)


def core_config(config: dict[str, Any]) -> CoreConfig:
    """Core config of a BERT ``config.json``."""
    headed = has_head(config, "MaskedLM", "PreTraining")
    act = activation(config.get("hidden_act", "gelu"))
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
        activation=act,
        head="mlm" if headed else "none",
        head_activation=act,
        head_bias=headed,
        tied=tied(config),
        dropout_embed=config.get("hidden_dropout_prob", 0.1),
        dropout_residual=config.get("hidden_dropout_prob", 0.1),
        dropout_attention=config.get("attention_probs_dropout_prob", 0.1),
    )


def hf_config(config: CoreConfig) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` loads for a core config of this family."""
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
        "hidden_act": activation_name(config.activation),
        "tie_word_embeddings": config.tied,
        "hidden_dropout_prob": config.dropout_residual,
        "attention_probs_dropout_prob": config.dropout_attention,
    }
