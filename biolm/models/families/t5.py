"""T5 (Raffel et al. 2020) and T5 1.1: RMS norms without biases, distances in the scores, plain or gated.

:func:`biolm.models.families.hf.from_hf` loads the encoder, from an encoder's folder or a whole one, as ProtT5
is used; :func:`load_seq2seq` loads encoder and decoder. Source of shapes and names: ``transformers``
``T5EncoderModel`` and ``T5ForConditionalGeneration``.
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
from biolm.models.families.config_table import ConfigTable, Field, Rule, required, write_always
from biolm.models.families.fields import activation, activation_name
from biolm.models.families.keys import Key, KeyTable, dropped
from biolm.models.families.seq2seq import SHARED_EMBEDDING, load_pair, save_pair

__all__ = [
    "KEYS",
    "SEQ2SEQ_KEYS",
    "core_config",
    "decoder_config",
    "hf_config",
    "load_seq2seq",
    "save_seq2seq",
]


def _stack(theirs: str, ours: str, *, cross: bool) -> list[Key]:
    """Lines of an encoder or decoder; ``ours`` is its prefix in the core."""
    layer, feed_forward = f"{theirs}.block.{{}}.layer", 2 if cross else 1
    attentions = [(f"{layer}.0.SelfAttention", "attention"), (f"{layer}.1.EncDecAttention", "cross")]
    parts = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
    names = [
        (f"{theirs_one}.{short}", f"layers.{{}}.{ours_one}.{long}")
        for theirs_one, ours_one in attentions[: 1 + cross]
        for short, long in parts
    ]
    names += [(f"{layer}.0.layer_norm", "layers.{}.attn_norm"), (f"{theirs}.final_layer_norm", "final_norm")]
    if cross:
        names.append((f"{layer}.1.layer_norm", "layers.{}.cross_norm"))
    dense = f"{layer}.{feed_forward}.DenseReluDense"
    names += [
        (f"{layer}.{feed_forward}.layer_norm", "layers.{}.mlp_norm"),
        (f"{dense}.wi_0", "layers.{}.mlp.gate"),
        (f"{dense}.wo", "layers.{}.mlp.down"),
        # The first layer's table serves all layers.
        (f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias", "bias.table"),
    ]
    up = f"{ours}layers.{{}}.mlp.up.weight"
    return [
        *(Key(f"{a}.weight", f"{ours}{b}.weight") for a, b in names),
        Key(f"{dense}.wi.weight", up, when=lambda core: not core.glu),
        Key(f"{dense}.wi_1.weight", up, when=lambda core: core.glu),
    ]


# The shared table again, under the names of both halves.
_COPIES = dropped(
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    # Files of the first release hold a table that no code reads.
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)

KEYS = KeyTable(
    [
        Key("shared.weight", "embeddings.token.weight"),
        *_stack("encoder", "", cross=False),
        *_COPIES,
        *dropped("lm_head.weight", *(key.theirs for key in _stack("decoder", "", cross=True))),
    ]
)

SEQ2SEQ_KEYS = KeyTable(
    [
        SHARED_EMBEDDING,
        *_stack("encoder", "encoder.", cross=False),
        *_stack("decoder", "decoder.", cross=True),
        Key("lm_head.weight", "decoder.head.decoder.weight", when=lambda core: not core.tied),
        *_COPIES,
    ]
)


def _feed_forward(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("feed_forward_proj", "relu")
    # "gated-gelu" means the tanh form, which other families call gelu_new.
    name = "gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-")
    return {"glu": kind.startswith("gated-"), "activation": activation(name)}


def _hf_feed_forward(core: CoreConfig) -> dict[str, Any]:
    if not core.glu:
        return {"feed_forward_proj": activation_name(core.activation)}
    if core.activation == "gelu":
        raise ConfigError("T5 has no gated feed-forward with the exact GELU; use activation='gelu_tanh'")
    name = "gelu" if core.activation == "gelu_tanh" else core.activation
    return {"feed_forward_proj": f"gated-{name}"}


_CONFIG = ConfigTable(
    write_always(architectures=["T5EncoderModel"], model_type="t5"),
    *required(vocab_size="vocab_size", d_model="d_model", num_layers="n_layers", num_heads="n_heads"),
    *required(d_kv="head_dim", d_ff="d_ff"),
    Field("pad_token_id", "pad_id", 0),
    Field("relative_attention_num_buckets", "t5_buckets", 32),
    Field("relative_attention_max_distance", "t5_max_distance", 128),
    Field("layer_norm_epsilon", "norm_eps", 1e-6),
    Rule(_feed_forward, _hf_feed_forward),
    Field("dropout_rate", ("dropout_residual", "dropout_embed", "dropout_attention"), 0.1),
    write_always(is_encoder_decoder=False),
    position="t5",
    norm="rmsnorm",
    qkv_bias=False,
    out_bias=False,
    # The initialisation makes up for the root of the head's width, so scores are not divided by it.
    attn_scale=1.0,
    mlp_bias=False,
    mlp_out_bias=False,
)
core_config, hf_config = _CONFIG.core_config, _CONFIG.hf_config


def decoder_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of the decoder of a T5 ``config.json``."""
    encoder = core_config(config)
    depth = config.get("num_decoder_layers")
    # transformers 5 moved what T5 1.1 said by untied embeddings to a field of its own.
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return replace(
        encoder,
        n_layers=encoder.n_layers if depth is None else depth,
        causal=True,
        cross_attention=True,
        head="linear",
        logit_scale=encoder.d_model**-0.5 if scaled else 1.0,
    )


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
    # Configs of transformers 5 call every T5 tied; only the file tells whether the head has its own matrix.
    decoder = replace(decoder_config(config), tied="lm_head.weight" not in tensors)
    return load_pair(folder, SEQ2SEQ_KEYS, core_config(config), decoder, tensors)


def save_seq2seq(model: EncoderDecoder, folder: str | Path) -> None:
    """Write a folder that ``T5ForConditionalGeneration.from_pretrained`` loads.

    Parameters
    ----------
    model
        To save.
    folder
        Made if needed.
    """
    decoder = model.decoder.config
    scaled = decoder.logit_scale != 1.0
    config = {
        **hf_config(model.encoder.config),
        "architectures": ["T5ForConditionalGeneration"],
        "num_decoder_layers": decoder.n_layers,
        "decoder_start_token_id": decoder.pad_id,
        # Version 4 reads the first of the two, version 5 the second.
        "tie_word_embeddings": scaled,
        "scale_decoder_outputs": scaled,
    }
    save_pair(model, folder, SEQ2SEQ_KEYS, config)
