"""CTRL (Keskar et al. 2019): pre-norm decoder with fixed sinusoids, steered by a control code in front.

A prompt must begin with one of 55 control codes, ordinary tokens of the vocabulary. Source of shapes, names
and codes: ``transformers`` ``CTRLLMHeadModel`` and its tokeniser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from biolm.core.config import CoreConfig
from biolm.errors import ConfigError
from biolm.models.families.config_table import ConfigTable, Field, Rule, required
from biolm.models.families.decoders import causal, lm_head_keys
from biolm.models.families.keys import Key, KeyTable, dropped

__all__ = ["CONTROL_CODES", "KEYS", "core_config", "hf_config"]

_CODES = """
    Pregnancy:168629 Christianity:7675 Explain:106423 Fitness:63440 Saving:63163 Ask:27171 Ass:95985
    Joke:163509 Questions:45622 Thoughts:49605 Retail:52342 Feminism:164338 Writing:11992 Atheism:192263
    Netflix:48616 Computing:39639 Opinion:43213 Alone:44967 Funny:58917 Gaming:40358 Human:4088 India:1331
    Joker:77138 Diet:36206 Legal:11859 Norman:4939 Tip:72689 Weight:52343 Movies:46273 Running:23425
    Science:2090 Horror:37793 Confession:60572 Finance:12250 Politics:16360 Scary:191985 Support:12654
    Technologies:32516 Teenage:66160 Event:32769 Learned:67460 Notion:182770 Wikipedia:37583 Books:6665
    Extract:76050 Confessions:102701 Conspiracy:75932 Links:63674 Narcissus:150425 Relationship:54766
    Relationships:134796 Reviews:41671 News:4256 Translation:26820 multilingual:128406
"""
CONTROL_CODES = {name: int(token) for name, token in (pair.split(":") for pair in _CODES.split())}
"""Token id of each control code."""

_EPS = 1e-6


KEYS = KeyTable(
    [
        Key("w.weight", "embeddings.token.weight"),
        Key("h.{}.layernorm1.*", "layers.{}.attn_norm.*"),
        Key("h.{}.layernorm2.*", "layers.{}.mlp_norm.*"),
        Key("h.{}.multi_head_attention.Wq.*", "layers.{}.attention.query.*"),
        Key("h.{}.multi_head_attention.Wk.*", "layers.{}.attention.key.*"),
        Key("h.{}.multi_head_attention.Wv.*", "layers.{}.attention.value.*"),
        Key("h.{}.multi_head_attention.dense.*", "layers.{}.attention.out.*"),
        Key("h.{}.ffn.0.*", "layers.{}.mlp.up.*"),
        Key("h.{}.ffn.2.*", "layers.{}.mlp.down.*"),
        Key("layernorm.*", "final_norm.*"),
        Key("/lm_head.bias", "head.bias"),
        *lm_head_keys(),
        *dropped("pos_encoding"),
    ],
    prefixes=("transformer.", ""),
)


def _codes_below(size: int) -> tuple[int, ...] | None:
    """The control codes of a vocabulary; None, any prompt, where it is too small to hold one."""
    return tuple(sorted(code for code in CONTROL_CODES.values() if code < size)) or None


_CONFIG = ConfigTable(
    *causal("ctrl", "CTRL", tie=True, headed="LMHeadModel", bias=True),
    *required(n_embd="d_model", n_layer="n_layers", n_head="n_heads", dff="d_ff", n_positions="max_length"),
    Field("layer_norm_epsilon", "norm_eps", _EPS),
    Field("embd_pdrop", "dropout_embed", 0.1),
    Field("resid_pdrop", "dropout_residual", 0.1),
    # As in the first transformer: embeddings are scaled up before the sinusoids are added.
    Rule(lambda config: {"embed_scale": math.sqrt(config["n_embd"])}),
    Rule(lambda config: {"begin_ids": _codes_below(config["vocab_size"])}),
    position="sinusoid",
    activation="relu",
)
hf_config = _CONFIG.hf_config


def core_config(config: Mapping[str, Any]) -> CoreConfig:
    """Core config of a CTRL ``config.json``.

    Raises
    ------
    ConfigError
        If its norms have another epsilon than the published model: the reference reads it for the last norm
        alone.
    """
    if config.get("layer_norm_epsilon", _EPS) != _EPS:
        raise ConfigError(f"CTRL with another layer_norm_epsilon than {_EPS} is not supported")
    return _CONFIG.core_config(config)
