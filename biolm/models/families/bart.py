"""BART (Lewis et al. 2020): post-norm encoder and decoder with learned positions from row 2.

:func:`biolm.models.families.hf.from_hf` loads the encoder, :func:`load_seq2seq` encoder and decoder. A
decoder begins with :func:`start_ids`. Source of shapes and names: ``transformers``
``BartForConditionalGeneration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from biolm.core.checkpoint import find_weights, read_weights
from biolm.core.config import CoreConfig
from biolm.core.seq2seq import EncoderDecoder
from biolm.errors import ConfigError
from biolm.io.json_file import read_json
from biolm.models.families.config_table import (
    ConfigTable,
    Field,
    activation_field,
    required,
    scaled_embedding,
    write_always,
)
from biolm.models.families.fields import pad_id
from biolm.models.families.keys import Key, KeyTable, Squeezed, dropped
from biolm.models.families.seq2seq import SHARED_EMBEDDING, load_pair, save_pair

__all__ = [
    "KEYS",
    "SEQ2SEQ_KEYS",
    "core_config",
    "decoder_config",
    "hf_config",
    "load_seq2seq",
    "save_seq2seq",
    "start_ids",
]


def _stack(theirs: str, ours: str, *, cross: bool) -> list[Key]:
    """Lines of an encoder or decoder; ``ours`` is its prefix in the core."""
    layer = f"{theirs}.layers.{{}}"
    parts = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))
    attentions = (("self_attn", "attention"), ("encoder_attn", "cross"))
    names = [
        (f"{layer}.{theirs_one}.{short}", f"layers.{{}}.{ours_one}.{long}")
        for theirs_one, ours_one in attentions[: 1 + cross]
        for short, long in parts
    ]
    names += [
        (f"{layer}.self_attn_layer_norm", "layers.{}.attn_norm"),
        (f"{layer}.fc1", "layers.{}.mlp.up"),
        (f"{layer}.fc2", "layers.{}.mlp.down"),
        (f"{layer}.final_layer_norm", "layers.{}.mlp_norm"),
        (f"{theirs}.layernorm_embedding", "embeddings.norm"),
    ]
    if cross:
        names.append((f"{layer}.encoder_attn_layer_norm", "layers.{}.cross_norm"))
    position = Key(f"{theirs}.embed_positions.weight", f"{ours}embeddings.position.weight")
    return [position, *(Key(f"{a}.*", f"{ours}{b}.*") for a, b in names)]


# The shared table again, under the names of both halves and of the head.
_COPIES = dropped("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "/lm_head.weight")
_PREFIXES = ("model.", "")

KEYS = KeyTable(
    [
        Key("shared.weight", "embeddings.token.weight"),
        *_stack("encoder", "", cross=False),
        *_COPIES,
        *dropped("/final_logits_bias", *(key.theirs for key in _stack("decoder", "", cross=True))),
    ],
    prefixes=_PREFIXES,
)

SEQ2SEQ_KEYS = KeyTable(
    [
        SHARED_EMBEDDING,
        *_stack("encoder", "encoder.", cross=False),
        *_stack("decoder", "decoder.", cross=True),
        Key("/final_logits_bias", "decoder.head.bias", Squeezed(0)),
        *_COPIES,
    ],
    prefixes=_PREFIXES,
)


_CONFIG = ConfigTable(
    write_always(architectures=["BartModel"], model_type="bart"),
    *required(vocab_size="vocab_size", d_model="d_model", encoder_layers="n_layers"),
    *required(encoder_attention_heads="n_heads", encoder_ffn_dim="d_ff"),
    Field("max_position_embeddings", "max_length", 1024),
    Field("pad_token_id", "pad_id", 1, pad_id),
    scaled_embedding("d_model", False),
    activation_field("activation_function", "gelu"),
    Field("dropout", ("dropout_residual", "dropout_embed"), 0.1),
    Field("attention_dropout", "dropout_attention", 0.0),
    # The position table has two rows that no token uses.
    position_offset=2,
    embed_norm=True,
    block="post",
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of the encoder of a BART ``config.json``.

    Raises
    ------
    ConfigError
        If it is not post-norm, as mBART's is not.
    """
    for field in ("normalize_before", "add_final_layer_norm"):
        if config.get(field):
            raise ConfigError(f"BART with {field} is not supported; published models are post-norm")
    return _CONFIG.core_config(config)


def decoder_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of the decoder of a BART ``config.json``."""
    return replace(
        core_config(config),
        n_layers=config["decoder_layers"],
        n_heads=config["decoder_attention_heads"],
        n_kv_heads=config["decoder_attention_heads"],
        head_dim=config["d_model"] // config["decoder_attention_heads"],
        rope_dim=0,
        d_ff=config["decoder_ffn_dim"],
        causal=True,
        cross_attention=True,
        head="linear",
        head_bias=True,
    )


def start_ids(config: dict[str, Any]) -> list[int]:
    """What the decoder begins with: its start token, and the one that a ``config.json`` forces after it."""
    start = config.get("decoder_start_token_id", 2)
    forced = config.get("forced_bos_token_id")
    return [start] if forced is None else [start, forced]


def load_seq2seq(folder: str | Path) -> EncoderDecoder:
    """Load encoder and decoder from a folder written by ``save_pretrained``.

    Raises
    ------
    CheckpointError
        If weights are missing, extra, mis-shaped or unsafe.
    ConfigError
        If the config is impossible.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    tensors = read_weights(find_weights(folder))
    # A buffer of zeros in published files, which older ones leave out.
    if "final_logits_bias" not in tensors:
        tensors["final_logits_bias"] = next(iter(tensors.values())).new_zeros(1, config["vocab_size"])
    return load_pair(folder, SEQ2SEQ_KEYS, core_config(config), decoder_config(config), tensors)


def save_seq2seq(model: EncoderDecoder, folder: str | Path) -> None:
    """Write a folder that ``BartForConditionalGeneration.from_pretrained`` loads.

    Parameters
    ----------
    model
        To save.
    folder
        Made if needed.
    """
    decoder = model.decoder.config
    config = {
        **hf_config(model.encoder.config),
        "architectures": ["BartForConditionalGeneration"],
        "decoder_layers": decoder.n_layers,
        "decoder_attention_heads": decoder.n_heads,
        "decoder_ffn_dim": decoder.d_ff,
        "decoder_start_token_id": 2,
    }
    save_pair(model, folder, SEQ2SEQ_KEYS, config)
