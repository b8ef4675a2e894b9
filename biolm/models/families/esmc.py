"""ESM C (EvolutionaryScale 2024): pre-norm protein encoder, SwiGLU, norms on whole queries and keys.

Source of shapes and names: ``transformers`` ``EsmcForMaskedLM``; :data:`ORIGINAL_KEYS` are the names in the
``.pth`` files of the first release, which :func:`from_pth` reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biolm.core import Transformer
from biolm.core.checkpoint import check_size, load_strict, read_weights
from biolm.errors import CheckpointError
from biolm.models.families.config_table import ConfigTable, Field, Rule
from biolm.models.families.decoders import GATED_KEYS, attention_keys
from biolm.models.families.encoders import masked
from biolm.models.families.fields import rope, rope_parameters
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, gate_up, qkv
from biolm.models.families.qwen3 import QK_NORM_KEYS

__all__ = ["KEYS", "ORIGINAL_KEYS", "core_config", "from_pth", "hf_config"]


KEYS = KeyTable(
    [
        Key("embed_tokens.weight", "embeddings.token.weight"),
        *attention_keys(),
        *QK_NORM_KEYS,
        Key("layers.{}.input_layernorm.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.post_attention_layernorm.*", "layers.{}.mlp_norm.*"),
        *GATED_KEYS,
        Key("norm.weight", "final_norm.weight"),
        Key("/lm_head.dense.*", "head.dense.*"),
        Key("/lm_head.layer_norm.*", "head.norm.*"),
        Key("/lm_head.decoder.weight", "head.decoder.weight", when=lambda core: not core.tied),
        Key("/lm_head.decoder.bias", "head.bias"),
        *dropped("/lm_head.decoder.weight", "rotary_emb.inv_freq"),
    ],
    prefixes=("esmc.", ""),
)

_ATTENTION = "transformer.blocks.{}.attn"
_FEED_FORWARD = "transformer.blocks.{}.ffn"

ORIGINAL_KEYS = KeyTable(
    [
        Key("embed.weight", "embeddings.token.weight"),
        Key(f"{_ATTENTION}.layernorm_qkv.0.*", "layers.{}.attn_norm.*"),
        Key(f"{_ATTENTION}.layernorm_qkv.1.weight", qkv("weight"), Rows()),
        Key(f"{_ATTENTION}.q_ln.weight", "layers.{}.attention.query_norm.weight"),
        Key(f"{_ATTENTION}.k_ln.weight", "layers.{}.attention.key_norm.weight"),
        Key(f"{_ATTENTION}.out_proj.weight", "layers.{}.attention.out.weight"),
        Key(f"{_FEED_FORWARD}.0.*", "layers.{}.mlp_norm.*"),
        Key(f"{_FEED_FORWARD}.1.weight", gate_up("weight"), Rows()),
        Key(f"{_FEED_FORWARD}.3.weight", "layers.{}.mlp.down.weight"),
        Key("transformer.norm.weight", "final_norm.weight"),
        Key("sequence_head.0.*", "head.dense.*"),
        Key("sequence_head.2.*", "head.norm.*"),
        Key("sequence_head.3.weight", "head.decoder.weight"),
        Key("sequence_head.3.bias", "head.bias"),
        *dropped(f"{_ATTENTION}.rotary.inv_freq"),
    ]
)


def _positions(config: Mapping[str, Any]) -> dict[str, Any]:
    theta, scaling = rope(config)
    return {"position": "rope", "rope_theta": theta, "rope_scaling": scaling}


_CONFIG = ConfigTable(
    *masked("esmc", "Esmc", tie=False, dropout=None),
    Field("max_position_embeddings", "max_length", 2048),
    Field("mask_token_id", "mask_id", 32),
    Field("attention_dropout", "dropout_attention", 0.0),
    Rule(_positions, lambda core: {"rope_parameters": rope_parameters(core.rope_theta, core.rope_scaling)}),
    # Each branch is divided by the square root of the depth relative to 36 layers.
    Rule(lambda config: {"residual_scale": math.sqrt(36 / config["num_hidden_layers"])}),
    final_norm_bias=False,
    qkv_bias=False,
    out_bias=False,
    qk_norm="full",
    glu=True,
    activation="silu",
    mlp_bias=False,
    mlp_out_bias=False,
)
core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config


def from_pth(path: str | Path, *, n_heads: int | None = None) -> Transformer:
    """Load a ``.pth`` file of the first release.

    Parameters
    ----------
    path
        Such as ``esmc_300m_2024_12_v0.pth``.
    n_heads
        Heads, which the file does not tell; None for heads of 64 numbers, as all released models have.

    Raises
    ------
    CheckpointError
        If it holds no ESM C model, or weights are missing, extra or mis-shaped.
    """
    tensors = read_weights([Path(path)])
    try:
        vocabulary, width = tensors["embed.weight"].shape
        d_ff = tensors["transformer.blocks.0.ffn.3.weight"].shape[1]
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}, so it is no ESM C file of the first release") from None
    # The file holds no config: depth and sizes are read off its weights.
    layers = [key for key in tensors if key.endswith(".attn.out_proj.weight")]
    core = core_config(
        {
            "architectures": ["EsmcForMaskedLM"],
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": len(layers),
            "num_attention_heads": n_heads or max(width // 64, 1),
            "intermediate_size": d_ff,
            "pad_token_id": 1,
        }
    )
    check_size(core, tensors, path)
    model = Transformer(core)
    ours = ORIGINAL_KEYS.theirs_to_ours(tensors, core, path)
    load_strict(model, ours, path, lambda name: ORIGINAL_KEYS.published(name, core))
    return model.eval()
