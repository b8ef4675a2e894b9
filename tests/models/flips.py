"""One flip for every switch of the core config: a change that must break agreement with the reference.

A flip returns the fields to change, or None where the switch means nothing for that config. It is tried
where the flipped model finds all its weights among the loaded ones; switching a part off always does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch

from biolm.core import CoreConfig, Transformer
from biolm.core.config import RopeScaling
from biolm.errors import ConfigError

Change = dict[str, Any] | None
Flip = Callable[[CoreConfig], Change]

# Sizes, numbers of special tokens, training only, or switches of models that transformers does not have.
NOT_FLIPPED = {
    *("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "n_kv_heads", "head_dim", "max_length"),
    *(
        "embed_dim",
        "n_values",
        "pad_id",
        "t5_buckets",
        "share_layers",
        "begin_ids",
        "norm_eps_outside",
    ),
    *("mixer", "mixer_options", "project_tokens"),
    *("embedder", "output", "norms", "part_options"),
    *("dropout_embed", "dropout_attention", "dropout_residual", "cross_attention"),
}


def _off(name: str, when: Callable[[CoreConfig], bool] = lambda c: True) -> Flip:
    return lambda c: {name: False} if getattr(c, name) and when(c) else None


def _headed(c: CoreConfig) -> bool:
    return c.head in ("linear", "mlm")


def _embedding_is_normed_alone(c: CoreConfig) -> bool:
    return c.embed_norm and c.position != "learned" and not c.n_segments and c.value_encoder == "none"


def _norm(c: CoreConfig) -> Change:
    if c.norm == "layernorm":
        return {"norm": "rmsnorm"}
    biases = ("norm_bias", "embed_norm_bias", "final_norm_bias", "norm_plus_one")
    return {"norm": "layernorm", **dict.fromkeys(biases, False)}


def _block(c: CoreConfig) -> Change:
    other = {"pre": "post", "post": "pre", "sandwich": "pre", "parallel": "pre"}[c.block]
    return {"block": other, "final_norm": c.final_norm and c.block != "post"}


def _position_offset(c: CoreConfig) -> Change:
    if c.position != "learned" or c.value_encoder == "patches":
        return None
    step = -1 if c.position_offset else 1
    return {"position_offset": c.position_offset + step, "max_length": c.max_length - step}


def _theta(c: CoreConfig) -> Change:
    windowed = [c.layer_window(i) > 0 for i in range(c.n_layers)]
    unused = c.rope_theta_local is not None and all(windowed)
    return None if c.position != "rope" or unused else {"rope_theta": c.rope_theta / 50}


def _theta_local(c: CoreConfig) -> Change:
    if c.position != "rope" or not c.window:
        return None
    return {"rope_theta_local": 77.0 if c.rope_theta_local is None else None}


def _windowed_layers(c: CoreConfig) -> Change:
    if not c.window or c.share_layers:
        return None
    return {"windowed_layers": (0,) if c.windowed_layers is None else None}


def _other_gelu(c: CoreConfig, name: str) -> Change:
    other = {"gelu": "gelu_tanh", "gelu_tanh": "gelu"}.get(getattr(c, name))
    return {name: other} if other else None


def _rope(change: Callable[[CoreConfig], Change]) -> Flip:
    return lambda c: change(c) if c.position == "rope" else None


FLIPS: dict[str, Flip] = {
    "n_segments": lambda c: {"n_segments": 0} if c.n_segments else None,
    "alibi_scaled": lambda c: {"alibi_scaled": not c.alibi_scaled} if c.position == "alibi" else None,
    "embed_norm": _off("embed_norm"),
    "embed_norm_bias": _off("embed_norm_bias", lambda c: c.embed_norm and c.norm == "layernorm"),
    "embed_scale": lambda c: None if _embedding_is_normed_alone(c) else {"embed_scale": c.embed_scale * 1.5},
    "token_dropout": lambda c: {"token_dropout": not c.token_dropout, "mask_id": mask_of(c)},
    "mask_id": lambda c: {"mask_id": mask_of(c) - 1} if c.token_dropout else None,
    "value_encoder": lambda c: {"value_encoder": "none"} if c.value_encoder != "none" else None,
    "position": lambda c: {"position": "none", "alibi_scaled": False} if c.position != "none" else None,
    "position_offset": _position_offset,
    "rope_theta": _theta,
    "rope_theta_local": _theta_local,
    "rope_dim": _rope(lambda c: {"rope_dim": c.rope_dim - 2} if c.rope_dim > 2 else None),
    "rope_interleaved": _rope(lambda c: {"rope_interleaved": not c.rope_interleaved}),
    "rope_scaling": _rope(
        lambda c: {"rope_scaling": None if c.rope_scaling else RopeScaling(kind="linear", factor=2.0)}
    ),
    "rope_rounding": _rope(
        lambda c: {"rope_rounding": "bfloat16" if c.rope_rounding == "none" else "none"},
    ),
    "t5_max_distance": lambda c: {"t5_max_distance": c.t5_max_distance * 4} if c.position == "t5" else None,
    "causal": lambda c: {"causal": not c.causal},
    "window": lambda c: {"window": c.window + 1} if c.window else {"window": 2},
    "window narrower": lambda c: {"window": c.window - 1} if c.window > 1 else None,
    "windowed_layers": _windowed_layers,
    "norm": _norm,
    "norm_eps": lambda c: {"norm_eps": 1.0},
    "norm_bias": _off("norm_bias", lambda c: c.norm == "layernorm"),
    "norm_plus_one": lambda c: {"norm_plus_one": not c.norm_plus_one} if c.norm == "rmsnorm" else None,
    "block": _block,
    "shared_norm": lambda c: {"shared_norm": True} if c.block == "parallel" and not c.shared_norm else None,
    "first_attn_norm": _off("first_attn_norm", lambda c: not c.share_layers),
    "final_norm": _off("final_norm", lambda c: c.block != "post"),
    "final_norm_bias": _off(
        "final_norm_bias", lambda c: c.final_norm and c.block != "post" and c.norm == "layernorm"
    ),
    "residual_scale": lambda c: {"residual_scale": c.residual_scale * 0.7} if c.block != "sandwich" else None,
    "layer_scale": _off("layer_scale"),
    "qkv_bias": _off("qkv_bias"),
    "out_bias": _off("out_bias"),
    "qk_norm": lambda c: {"qk_norm": "none"} if c.qk_norm != "none" else None,
    "attn_scale": lambda c: {"attn_scale": 1.5 * (c.attn_scale or 1 / math.sqrt(c.head_dim))},
    "attn_softcap": lambda c: {"attn_softcap": None if c.attn_softcap else 1.0},
    "glu": _off("glu"),
    "activation": lambda c: {"activation": "silu" if c.activation == "relu" else "relu"},
    "activation gelu": lambda c: _other_gelu(c, "activation"),
    "first_activation": lambda c: (
        {"first_activation": "silu" if c.activation == "relu" else "relu"} if not c.share_layers else None
    ),
    "mlp_bias": _off("mlp_bias"),
    "mlp_out_bias": _off("mlp_out_bias"),
    "head": lambda c: {"head": "linear"} if c.head == "mlm" and c.embed_dim == c.d_model else None,
    "head_activation": lambda c: (
        {"head_activation": "silu" if c.head_activation == "relu" else "relu"} if c.head == "mlm" else None
    ),
    "head_activation gelu": lambda c: _other_gelu(c, "head_activation") if c.head == "mlm" else None,
    "head_dense_bias": _off("head_dense_bias", lambda c: c.head == "mlm"),
    "head_bias": _off("head_bias", _headed),
    "tied": lambda c: {"tied": True} if _headed(c) and not c.tied and c.embed_dim == c.d_model else None,
    "logit_scale": lambda c: {"logit_scale": c.logit_scale * 1.5} if _headed(c) else None,
    "logit_softcap": lambda c: {"logit_softcap": None if c.logit_softcap else 1.0} if _headed(c) else None,
}

# The two GELUs differ by 5e-4 at most wherever they are applied, and rounded angles by little on short
# documents: less than what other flips must show, but still more than agreement allows.
LEAST_CHANGE = dict.fromkeys(("activation gelu", "head_activation gelu", "rope_rounding"), 2e-5)


def mask_of(config: CoreConfig) -> int:
    """The mask token of a config, or the one that the tests use in its place."""
    if config.mask_id is not None:
        return config.mask_id
    return min(4 if config.pad_id == 3 else 3, config.vocab_size - 1)


def _shapes(config: CoreConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Transformer(config).state_dict().items()}


def flipped_configs(
    config: CoreConfig, names: Iterable[str] = tuple(FLIPS)
) -> Iterator[tuple[str, CoreConfig]]:
    """The config with one switch flipped, for each flip that its weights allow."""
    shapes = _shapes(config)
    for name in names:
        change = FLIPS[name](config)
        if change is None:
            continue
        flipped = replace(config, **change)
        try:
            fits = _shapes(flipped).items() <= shapes.items()
        except ConfigError as error:
            if "mixer" not in str(error):
                raise
            continue  # the mixer would ignore it, and says so
        if fits:
            yield name, flipped


def flipped_models(core: Transformer) -> Iterator[tuple[str, Transformer]]:
    """The loaded model with one switch flipped, for each flip that its weights allow."""
    weights = core.state_dict()
    for name, config in flipped_configs(core.config):
        flipped = Transformer(config)
        flipped.load_state_dict({key: weights[key] for key in flipped.state_dict()})
        yield name, flipped.eval()


def unknown_switches() -> set[str]:
    """Fields of the core config that are neither flipped nor exempt."""
    return {field.name for field in fields(CoreConfig)} - FLIPS.keys() - NOT_FLIPPED
