"""BioGPT (Luo et al. 2022): pre-norm decoder whose learned positions start at row 2.

Source of shapes and names: ``transformers`` ``BioGptForCausalLM``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, activation_field, scaled_embedding
from biolm.models.families.decoders import FAIRSEQ_LAYER, causal, lm_head_keys
from biolm.models.families.encoders import SIZES, dropout_fields
from biolm.models.families.keys import Key, KeyTable

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        Key("embed_positions.weight", "embeddings.position.weight"),
        *FAIRSEQ_LAYER,
        Key("layer_norm.*", "final_norm.*"),
        *lm_head_keys("output_projection"),
    ],
    prefixes=("biogpt.", ""),
)


_CONFIG = ConfigTable(
    *causal("biogpt", "BioGpt", tie=True),
    *SIZES[1:],
    Field("max_position_embeddings", "max_length"),
    scaled_embedding("hidden_size", True),
    activation_field("hidden_act", "gelu"),
    *dropout_fields(0.1),
    # The position table has two rows that no token uses, left from the padding of fairseq.
    position_offset=2,
    # The published code ignores its layer_norm_eps and uses the library's default.
    norm_eps=1e-5,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
