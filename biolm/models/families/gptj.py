"""GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward side by side, interleaved rotary positions.

Source of shapes and names: ``transformers`` ``GPTJForCausalLM``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, activation_field
from biolm.models.families.decoders import GPT_WIDTH, attention_keys, causal, gpt_parts, lm_head_keys
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("wte.weight", "embeddings.token.weight"),
        Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
        *attention_keys("out_proj", "h.{}.attn"),
        Key("h.{}.mlp.fc_in.*", "layers.{}.mlp.up.*"),
        Key("h.{}.mlp.fc_out.*", "layers.{}.mlp.down.*"),
        Key("ln_f.*", "final_norm.*"),
        Key("/lm_head.bias", "head.bias"),
        *lm_head_keys(),
        *dropped("h.{}.attn.bias", "h.{}.attn.masked_bias", "h.{}.attn.embed_positions"),
    ],
    prefixes=("transformer.", ""),
)


_CONFIG = ConfigTable(
    *causal("gptj", "GPTJ", tie=False, bias=True),
    *gpt_parts(dropout=0.0),
    GPT_WIDTH,
    Field("rotary_dim", "rope_dim", 64),
    activation_field("activation_function", "gelu_new"),
    position="rope",
    # Pairs of neighbours are turned, where later families turn halves.
    rope_interleaved=True,
    block="parallel",
    qkv_bias=False,
    out_bias=False,
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
