"""What the decoder families share: the head, the kinds of layers, and entries of ``config.json``.

Rotary positions are written in the spelling of ``transformers`` 4 (``rope_theta``, ``rope_scaling``), which
version 5 reads too; the other way round an older version would silently fall back to its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import Field, Part, Rule, required, tied_field, write_always
from biolm.models.families.encoders import SIZES
from biolm.models.families.fields import has_head, pad_id, rope, rope_parameters
from biolm.models.families.keys import Key, Transposed, qkv

__all__ = [
    "CONV1D_KEYS",
    "FAIRSEQ_LAYER",
    "GATED_KEYS",
    "GPT_WIDTH",
    "ROTATED_FRACTION",
    "attention_keys",
    "causal",
    "gpt_parts",
    "hf_layer_types",
    "hf_rope",
    "lm_head_keys",
    "parallel_field",
    "rope_fields",
    "rotary",
    "size_parts",
    "windowed_layers",
]

CONV1D_KEYS = [
    Key("h.{}.ln_1.*", "layers.{}.attn_norm.*"),
    Key("h.{}.attn.c_attn.*", qkv(), Transposed()),
    Key("h.{}.attn.c_proj.*", "layers.{}.attention.out.*", Transposed()),
    Key("h.{}.ln_2.*", "layers.{}.mlp_norm.*"),
    Key("h.{}.mlp.c_fc.*", "layers.{}.mlp.up.*", Transposed()),
    Key("h.{}.mlp.c_proj.*", "layers.{}.mlp.down.*", Transposed()),
]
"""Layers of GPT-1 and GPT-2, whose matrices are stored the other way round."""


def _untied(config: CoreConfig) -> bool:
    return config.head == "linear" and not config.tied


def lm_head_keys(*names: str) -> list[Key]:
    """Lines for the head's matrix, which a file may also hold as a copy of the tied embedding.

    Parameters
    ----------
    names
        Published names; the first is written, the others are read.
    """
    first, *also = (f"/{name}.weight" for name in names or ("lm_head",))
    return [
        Key(first, "head.decoder.weight", also=tuple(also), when=_untied),
        Key(first, also=tuple(also), when=lambda config: not _untied(config)),
    ]


def attention_keys(out: str = "o_proj", theirs: str = "layers.{}.self_attn") -> list[Key]:
    """Lines for four separate matrices.

    Parameters
    ----------
    out
        Published name of the last.
    theirs
        Published name of the attention.
    """
    parts = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), (out, "out"))
    return [Key(f"{theirs}.{name}.*", f"layers.{{}}.attention.{ours}.*") for name, ours in parts]


FAIRSEQ_LAYER = [
    *attention_keys("out_proj"),
    Key("layers.{}.self_attn_layer_norm.*", "layers.{}.attn_norm.*"),
    Key("layers.{}.fc1.*", "layers.{}.mlp.up.*"),
    Key("layers.{}.fc2.*", "layers.{}.mlp.down.*"),
    # In a layer this is the feed-forward's norm, outside of it the model's.
    Key("layers.{}.final_layer_norm.*", "layers.{}.mlp_norm.*"),
]
"""Layers of BioGPT, OPT and fair-esm, all written with fairseq."""

GATED_KEYS = [
    Key(f"layers.{{}}.mlp.{name}_proj.*", f"layers.{{}}.mlp.{name}.*") for name in ("gate", "up", "down")
]
"""Feed-forwards of Llama's kind."""


def causal(
    model_type: str, name: str, *, tie: bool, headed: str = "ForCausalLM", bias: bool = False
) -> tuple[Part, ...]:
    """Mask and head of a next-token model, and what every decoder's ``config.json`` says.

    Parameters
    ----------
    model_type
        In ``transformers``.
    name
        Begins the name of the architecture.
    tie
        Whether the head is tied to the embedding where the file says nothing.
    headed
        Ends the name of the architecture when the model has a head.
    bias
        Whether the head has one.

    Examples
    --------
    >>> causal("gpt2", "GPT2", tie=True)[0].read({"architectures": ["GPT2LMHeadModel"]})["head"]
    'linear'
    """

    # No entry says whether there is a head; the class that wrote the file does.
    def head(config: Mapping[str, Any]) -> dict[str, Any]:
        linear = has_head(config, "CausalLM", "LMHead")
        return {"causal": True, "head": "linear" if linear else "none", "head_bias": bias and linear}

    def architecture(core: CoreConfig) -> dict[str, Any]:
        ending = headed if core.head == "linear" else "Model"
        return {"architectures": [name + ending], "model_type": model_type}

    return (
        Rule(head, architecture),
        Field("vocab_size", "vocab_size"),
        tied_field(tie),
        Field("pad_token_id", "pad_id", None, pad_id),
        # The core knows no begin and end tokens; without these lines the family's defaults would appear.
        write_always(bos_token_id=None, eos_token_id=None),
    )


GPT_WIDTH = Rule(
    lambda config: {"d_ff": config.get("n_inner") or 4 * config["n_embd"]},
    lambda core: {"n_inner": core.d_ff},
)
"""Feed-forward width of GPT-2 and GPT-J."""


def gpt_parts(dropout: float = 0.1) -> tuple[Part, ...]:
    """Entries that GPT-1, GPT-2 and GPT-J have alike; ``dropout`` is the family's default."""
    return (
        *required(n_embd="d_model", n_layer="n_layers", n_head="n_heads", n_positions="max_length"),
        Field("layer_norm_epsilon", "norm_eps", 1e-5),
        Field("embd_pdrop", "dropout_embed", dropout),
        Field("resid_pdrop", "dropout_residual", dropout),
        Field("attn_pdrop", "dropout_attention", dropout),
    )


def size_parts(max_length: int | None = None) -> tuple[Part, ...]:
    """Entries of sizes, as most families name them; ``max_length`` where the file gives none."""
    length = ("max_position_embeddings", "max_length")
    return (
        *SIZES[1:4],
        # The core takes 0 for as many as heads.
        Field("num_key_value_heads", "n_kv_heads", 0, lambda number: number or 0),
        Field("intermediate_size", "d_ff"),
        Field(*length) if max_length is None else Field(*length, max_length),
        Field("attention_dropout", "dropout_attention", 0.0, lambda fraction: fraction or 0.0),
    )


def rope_fields(
    config: Mapping[str, Any], head_dim: int, *, layer_type: str | None = None, theta: float = 10_000.0
) -> dict[str, Any]:
    """Core fields of rotary positions, see :func:`biolm.models.families.fields.rope`.

    Parameters
    ----------
    config
        A ``config.json``.
    head_dim
        Width of a head.
    layer_type
        Kind of layer, where they differ.
    theta
        The family's default base.
    """
    base, scaling = rope(config, layer_type=layer_type, theta=theta)
    parameters = config.get("rope_parameters") or {}
    fraction = parameters.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    return {
        "position": "rope",
        "rope_theta": base,
        "rope_scaling": scaling,
        "rope_dim": head_dim if fraction is None else int(head_dim * fraction),
    }


def hf_rope(config: CoreConfig) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` as published."""
    scaling = rope_parameters(config.rope_theta, config.rope_scaling)
    theta = scaling.pop("rope_theta")
    return {"rope_theta": theta, "rope_scaling": None if config.rope_scaling is None else scaling}


def rotary(
    *,
    theta: float = 10_000.0,
    fraction: float | None = None,
    layer_type: str | None = None,
    head_dim: int | None = None,
) -> Rule:
    """Entries of rotary positions, see :func:`rope_fields`.

    Parameters
    ----------
    theta
        The family's default base.
    fraction
        Of each head that is rotated, where the file says nothing; None for all.
    layer_type
        Kind of layer, where they differ.
    head_dim
        Where the family's files give the width of a head: the default, 0 for what the sizes give.
    """

    def read(config: Mapping[str, Any]) -> dict[str, Any]:
        given = None if head_dim is None else config.get("head_dim", head_dim)
        width = given or config["hidden_size"] // config["num_attention_heads"]
        spelled = config if fraction is None else {"partial_rotary_factor": fraction, **config}
        return {"head_dim": width, **rope_fields(spelled, width, layer_type=layer_type, theta=theta)}

    return Rule(read, hf_rope)


ROTATED_FRACTION = Rule(write=lambda core: {"partial_rotary_factor": core.rope_dim / core.head_dim})
"""Written by families that rotate a part of each head; :func:`rotary` reads it."""


def parallel_field(default: bool) -> Field:
    """Whether attention and feed-forward read the same states; ``default`` is the family's."""
    return Field(
        "use_parallel_residual",
        "block",
        default,
        lambda parallel: "parallel" if parallel else "pre",
        lambda block: block == "parallel",
    )


def windowed_layers(layer_types: list[str]) -> tuple[int, ...]:
    """Numbers of the layers with a window.

    Raises
    ------
    ConfigError
        For a kind of layer that is not attention with or without a window.
    """
    for kind in layer_types:
        if kind not in ("sliding_attention", "full_attention"):
            raise ConfigError(f"layer_types must be sliding_attention or full_attention, not {kind!r}")
    return tuple(i for i, kind in enumerate(layer_types) if kind == "sliding_attention")


def hf_layer_types(config: CoreConfig) -> list[str]:
    """``layer_types`` as published."""
    return [
        "sliding_attention" if config.layer_window(i) else "full_attention" for i in range(config.n_layers)
    ]
