"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and a masked-token head.

ProtBERT and GROVER are of this family too. Source of shapes and names: ``transformers`` ``BertForMaskedLM``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.encoders import masked
from biolm.models.families.keys import Key, KeyTable, dropped, norm_keys

__all__ = ["KEYS", "core_config", "hf_config"]


EMBEDDING_KEYS = [
    Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
    Key("embeddings.position_embeddings.weight", "embeddings.position.weight"),
    Key("embeddings.token_type_embeddings.weight", "embeddings.segment.weight"),
    *norm_keys("embeddings.LayerNorm", "embeddings.norm"),
    *dropped("embeddings.position_ids", "embeddings.token_type_ids"),
]
"""Also of RoBERTa, ALBERT and DNABERT-2."""

ATTENTION_KEYS = [
    Key("encoder.layer.{}.attention.self.query.*", "layers.{}.attention.query.*"),
    Key("encoder.layer.{}.attention.self.key.*", "layers.{}.attention.key.*"),
    Key("encoder.layer.{}.attention.self.value.*", "layers.{}.attention.value.*"),
    Key("encoder.layer.{}.attention.output.dense.*", "layers.{}.attention.out.*"),
]
FEED_FORWARD_KEYS = [
    Key("encoder.layer.{}.intermediate.dense.*", "layers.{}.mlp.up.*"),
    Key("encoder.layer.{}.output.dense.*", "layers.{}.mlp.down.*"),
]
PROJECTION_KEYS = [*ATTENTION_KEYS, *FEED_FORWARD_KEYS]
"""Also of RoBERTa and ESM, which name their norms otherwise."""

LAYER_KEYS = [
    *PROJECTION_KEYS,
    *norm_keys("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attn_norm"),
    *norm_keys("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_norm"),
]


def decoder_keys(head: str) -> list[Key]:
    """Lines of the last map of a masked-token head: tied, or with a matrix and a bias of its own."""
    return [
        Key(f"/{head}.bias", "head.bias", when=lambda core: core.tied),
        Key(f"/{head}.decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        # Untied, the file holds both biases, and it is the decoder's own that counts.
        Key(f"/{head}.decoder.bias", "head.bias", when=lambda core: not core.tied),
        *dropped(f"/{head}.decoder.*", f"/{head}.bias"),
    ]


HEAD_KEYS = [
    Key("/cls.predictions.transform.dense.*", "head.dense.*"),
    *norm_keys("/cls.predictions.transform.LayerNorm", "head.norm"),
]
"""Also of GENA-LM and DNABERT-2."""

KEYS = KeyTable(
    [
        *EMBEDDING_KEYS,
        *LAYER_KEYS,
        *HEAD_KEYS,
        *decoder_keys("cls.predictions"),
        # Trained for next-sentence prediction, whose logits nobody asks the core for.
        *dropped("pooler.dense.*", "/cls.seq_relationship.*"),
    ],
    prefixes=("bert.", ""),
)


POST_NORM_FIELDS = (Field("type_vocab_size", "n_segments", 2), Field("layer_norm_eps", "norm_eps", 1e-12))
"""Also of RoBERTa, ALBERT and DNABERT-2."""

_CONFIG = ConfigTable(
    *masked("bert", "Bert"),
    Field("max_position_embeddings", "max_length"),
    *POST_NORM_FIELDS,
    activation_field("hidden_act", "gelu", "activation", "head_activation"),
    embed_norm=True,
    block="post",
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
