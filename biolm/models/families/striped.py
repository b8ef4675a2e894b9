"""What the StripedHyena families share: names of weights, and lines of their config.

Source of shapes and names: github.com/Zymrael/vortex and github.com/togethercomputer/stripedhyena
(Apache-2.0), which are not run.

Dimensions: ``d`` width · ``h`` heads · ``k`` head width · ``g`` groups · ``s`` modes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from biolm.errors import ConfigError
from biolm.models.families.keys import Fused, HeadMajor, Key, Rows, Squeezed, qkv

__all__ = [
    "block_keys",
    "check_fields",
    "common_fields",
    "inner_width",
    "kinds_of_layers",
    "rope_factor",
]


def block_keys(*, head_major: bool) -> list[Key]:
    """Lines of embedding, norms, feed-forward, attention and the shared parts of the convolutions.

    Parameters
    ----------
    head_major
        How the rows of ``Wqkv`` lie.
    """
    fused: Fused = HeadMajor() if head_major else Rows()
    return [
        Key("embedding_layer.weight", "embeddings.token.weight"),
        Key("norm.scale", "final_norm.weight"),
        Key("blocks.{}.pre_norm.scale", "layers.{}.attn_norm.weight"),
        Key("blocks.{}.post_norm.scale", "layers.{}.mlp_norm.weight"),
        Key("blocks.{}.mlp.l1.weight", "layers.{}.mlp.gate.weight"),
        Key("blocks.{}.mlp.l2.weight", "layers.{}.mlp.up.weight"),
        Key("blocks.{}.mlp.l3.weight", "layers.{}.mlp.down.weight"),
        Key("blocks.{}.projections.*", "layers.{}.attention.project.*"),
        Key("blocks.{}.out_filter_dense.*", "layers.{}.attention.output.*"),
        Key("blocks.{}.filter.short_filter_weight", "layers.{}.attention.filter.taps", Squeezed(1)),
        Key("blocks.{}.filter.short_filter_bias", "layers.{}.attention.filter.bias"),
        Key("blocks.{}.filter.D", "layers.{}.attention.filter.inner.skip"),
        Key("blocks.{}.inner_mha_cls.Wqkv.*", qkv(), fused),
        Key("blocks.{}.inner_mha_cls.out_proj.*", "layers.{}.attention.out.*"),
    ]


def kinds_of_layers(config: Mapping[str, Any], lists: Mapping[str, str]) -> tuple[str, ...]:
    """Mixer of each layer by the index lists of a config.

    Parameters
    ----------
    config
        As published.
    lists
        Name of the list to the mixer of its layers.

    Raises
    ------
    ConfigError
        If a layer stands in no list or in two, or a list names a layer that there is not.
    """
    depth, kinds = int(config["num_layers"]), {}
    for name, mixer in lists.items():
        for layer in config.get(name) or ():
            if not 0 <= layer < depth:
                raise ConfigError(f"{name} names layer {layer}, but there are {depth}, from 0")
            if layer in kinds:
                raise ConfigError(f"layer {layer} stands in two lists of layers; leave it in one")
            kinds[layer] = mixer
    # The lists alone say what a layer is; a gap would leave its weights without a place.
    for layer in range(depth):
        if layer not in kinds:
            raise ConfigError(
                f"layer {layer} stands in no list of layers; put it into one of {', '.join(lists)}"
            )
    return tuple(kinds[layer] for layer in range(depth))


def inner_width(config: Mapping[str, Any]) -> int:
    """Width of the gated feed-forward: as given, or 8/3 of the width rounded up."""
    given = config.get("inner_mlp_size")
    if given:
        return int(given)
    multiple = int(config.get("inner_size_multiple_of") or 1)
    return -(-int(8 * config["hidden_size"] / 3) // multiple) * multiple


def check_fields(config: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> None:
    """Refuse a config whose field says something else than the published models do.

    Parameters
    ----------
    config
        As published.
    wanted
        Values that are supported.
    name
        Of the family, for messages.

    Raises
    ------
    ConfigError
        Names the field.
    """
    for field, value in wanted.items():
        stated = config.get(field, value)
        if (value if stated is None else stated) != value:
            raise ConfigError(
                f"{name} with {field}: {stated!r} is not supported; published models have {value!r}"
            )


def rope_factor(config: Mapping[str, Any]) -> float:
    """By which positions are divided."""
    interpolated = config.get("use_interpolated_rotary_pos_emb")
    return float(config.get("rotary_emb_scaling_factor") or 1) if interpolated else 1.0


def common_fields(config: Mapping[str, Any], mixers: Sequence[str]) -> dict[str, Any]:
    """Core fields that both families have alike.

    Parameters
    ----------
    config
        As published.
    mixers
        Of the layers.
    """
    return {
        "vocab_size": int(config["vocab_size"]),
        "d_model": int(config["hidden_size"]),
        "n_layers": int(config["num_layers"]),
        "n_heads": int(config["num_attention_heads"]),
        "d_ff": inner_width(config),
        "max_length": int(config.get("max_seqlen") or 8192),
        # Of the tokeniser of bytes; the configs do not say it.
        "pad_id": 1,
        "causal": True,
        "norm": "rmsnorm",
        "norm_eps": float(config.get("eps", 1e-6)),
        # `x / (sqrt(mean(x^2)) + eps)` in both code bases, where others put it under the root.
        "norm_eps_outside": True,
        "glu": True,
        "mlp_bias": False,
        "mlp_out_bias": False,
        "head": "linear",
        "mixer": tuple(mixers),
    }
