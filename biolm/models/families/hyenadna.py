"""HyenaDNA (Nguyen et al. 2023): implicit filters, single bases, up to a million of them.

Source of shapes and names: github.com/HazyResearch/hyena-dna (Apache-2.0) and its port to Hugging Face,
which are not run. Both layouts are read: ``config.json`` with safetensors, and the first release's
``weights.ckpt``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.keys import Key, KeyTable, Reshaped, Squeezed, dropped

__all__ = ["KEYS", "core_config"]

_MOST_LAYERS = 8  # of the small network; published models have 4


class _Place:
    """Whether the layer of that number is the network's last one, or one before it."""

    def __init__(self, number: int, *, last: bool) -> None:
        self.number, self.last = number, last

    def __call__(self, config: CoreConfig) -> bool:
        before = int(config.mixer_options["hyena_implicit"]["inner_layers"]) + 1
        return self.number == before if self.last else self.number < before


_FILTER = "layers.{}.mixer.filter_fn"
_OURS = "layers.{}.attention.filter"


def _network_keys() -> list[Key]:
    """The small network: layers at even places, its sines' one factor at odd places."""
    keys = []
    for number in range(_MOST_LAYERS):
        theirs = f"{_FILTER}.implicit_filter.{2 * number}"
        keys.append(Key(f"{theirs}.*", f"{_OURS}.layers.{number}.*", when=_Place(number, last=False)))
        keys.append(Key(f"{theirs}.weight", f"{_OURS}.last.weight", when=_Place(number, last=True)))
    return keys


KEYS = KeyTable(
    [
        Key("embeddings.word_embeddings.weight", "embeddings.token.weight"),
        Key("layers.{}.norm1.*", "layers.{}.attn_norm.*"),
        Key("layers.{}.norm2.*", "layers.{}.mlp_norm.*"),
        Key("layers.{}.mlp.fc1.*", "layers.{}.mlp.up.*"),
        Key("layers.{}.mlp.fc2.*", "layers.{}.mlp.down.*"),
        Key("layers.{}.mixer.in_proj.*", "layers.{}.attention.project.*"),
        Key("layers.{}.mixer.out_proj.*", "layers.{}.attention.out.*"),
        Key("layers.{}.mixer.short_filter.weight", "layers.{}.attention.taps", Squeezed(1)),
        Key("layers.{}.mixer.short_filter.bias", "layers.{}.attention.taps_bias"),
        Key(f"{_FILTER}.bias", f"{_OURS}.skip"),
        Key(f"{_FILTER}.pos_emb.z", f"{_OURS}.table", Squeezed(0)),
        Key(f"{_FILTER}.pos_emb.t", f"{_OURS}.times", Reshaped(1, -1, 1)),
        Key(f"{_FILTER}.modulation.deltas", f"{_OURS}.rates", Reshaped(1, 1, -1)),
        Key(f"{_FILTER}.implicit_filter.1.freq", f"{_OURS}.frequency", Reshaped(1, -1)),
        *_network_keys(),
        *dropped(*(f"{_FILTER}.implicit_filter.{2 * n + 1}.freq" for n in range(1, _MOST_LAYERS))),
        Key("ln_f.*", "final_norm.*"),
        Key(
            "/lm_head.weight", "head.decoder.weight", also=("/model.lm_head.weight", "/hyena.lm_head.weight")
        ),
    ],
    prefixes=("hyena.backbone.", "model.backbone.", "backbone."),
)


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a ``config.json`` of either layout.

    Raises
    ------
    ConfigError
        If it differs from the published models in what the core does not do.
    KeyError
        If a field is missing.
    """
    layer = config.get("layer") or {}
    if config.get("hyena_order", layer.get("order", 2)) != 2:
        raise ConfigError("HyenaDNA of another order than 2 is not supported; published models have 2")
    if config.get("short_filter_order", layer.get("short_filter_order", 3)) != 3:
        raise ConfigError("HyenaDNA with another short filter than 3 taps is not supported")
    # The table was built with rows no token uses, so that its size suits the hardware.
    multiple = int(config.get("pad_vocab_size_multiple") or 1)
    return CoreConfig(
        vocab_size=-(-int(config["vocab_size"]) // multiple) * multiple,
        d_model=int(config["d_model"]),
        n_layers=int(config["n_layer"]),
        n_heads=1,
        d_ff=int(config["d_inner"]),
        max_length=int(config["max_seq_len"] if "max_seq_len" in config else layer["l_max"]),
        pad_id=4,
        position="none",
        causal=True,
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation="gelu_tanh",
        dropout_embed=float(config.get("embed_dropout", 0.1)),
        dropout_residual=float(config.get("resid_dropout", 0.0)),
        head="linear",
        tied=False,
        mixer="hyena_implicit",
        mixer_options={
            "hyena_implicit": {
                "place_width": int(config.get("emb_dim") or layer["emb_dim"]),
                "network_width": int(config.get("filter_order") or layer["filter_order"]),
                "inner_layers": int(config.get("num_inner_mlps", layer.get("num_inner_mlps", 2))),
                "frequency": float(config.get("activation_freq", layer.get("w", 10))),
            }
        },
    )


def same_frequencies(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the copies of the sines' factor that the first release stores are equal."""
    by_layer: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith(".freq"):
            by_layer.setdefault(name.split(".implicit_filter.")[0], []).append(tensor)
    return all(torch.equal(each[0], other) for each in by_layer.values() for other in each[1:])
