"""GPT-1 (Radford et al. 2018): post-norm decoder with learned positions and transposed matrices.

Source of shapes and names: ``transformers`` ``OpenAIGPTLMHeadModel``.
"""

from __future__ import annotations

from biolm.models.families.config_table import ConfigTable, Field, Rule
from biolm.models.families.decoders import CONV1D_KEYS, causal, gpt_parts, lm_head_keys
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["KEYS", "core_config", "hf_config"]


KEYS = KeyTable(
    [
        Key("tokens_embed.weight", "embeddings.token.weight"),
        Key("positions_embed.weight", "embeddings.position.weight"),
        *CONV1D_KEYS,
        *lm_head_keys(),
        *dropped("h.{}.attn.bias", "position_ids"),
    ],
    prefixes=("transformer.", ""),
)

_CONFIG = ConfigTable(
    *causal("openai-gpt", "OpenAIGPT", tie=True, headed="LMHeadModel"),
    *gpt_parts(),
    Rule(lambda config: {"d_ff": 4 * config["n_embd"]}),
    # Its "gelu" is the tanh form, which later files call gelu_new.
    Field(
        "afn",
        "activation",
        "gelu",
        lambda name: "gelu_tanh" if name == "gelu" else activation(name),
        lambda ours: "gelu" if ours == "gelu_tanh" else activation_name(ours),
    ),
    block="post",
)

core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config
