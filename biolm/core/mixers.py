"""Token mixers by name: attention, convolutions, and what other packages register.

A mixer is a module that is called as ``mixer(x, context)`` on packed tokens ``(t, d)`` and returns as many.
A :class:`Mixer` says how it is made and what it can do; a config that asks for more is refused, because a
mixer that ignored the mask or the positions would give wrong results without a word.

===================  ============================================================================
``causal``           sees earlier tokens only, where ``config.causal``
``bidirectional``    sees later tokens too, where not
``window``           keeps to ``config.layer_window(layer)``
``rope``             turns its queries and keys by ``context.rope``
``bias``             adds ``context.bias`` to its scores (ALiBi, T5)
``order``            knows the order of tokens by itself, so positions of other layers do not matter
``private``          hides private tokens from all but themselves
``maps``             gives its attention maps to ``context.maps``
``rows``             can give the states of ``context.rows`` alone, in the last layer
``attention``        reads ``qk_norm``, ``attn_scale``, ``attn_softcap``, ``n_kv_heads`` and
                     ``dropout_attention``
===================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from biolm.core.attention import Attention
from biolm.core.config import CoreConfig
from biolm.core.parts import read_options
from biolm.core.registry import Registry
from biolm.errors import ConfigError

__all__ = ["Mixer", "check_mixers", "find_mixer", "lacking", "make_mixer", "register_mixer"]

WORDS = frozenset(
    ("causal", "bidirectional", "window", "rope", "bias", "order", "private", "maps", "rows", "attention")
)


@dataclass(frozen=True, kw_only=True)
class Mixer:
    """How a kind of token mixer is made, and what it can do.

    Parameters
    ----------
    name
        What a config calls it.
    factory
        ``factory(config, layer, options)`` makes the module of one layer. A module that can generate also
        has ``decoding_state()``, see :mod:`biolm.core.state`.
    options
        Dataclass of the mixer's own options, read from ``config.mixer_options[name]``; None for none.
    supports
        Words of the table above.

    Raises
    ------
    ConfigError
        In the constructor, for a word that is not in the table.
    """

    name: str
    factory: Callable[[CoreConfig, int, Any], nn.Module]
    options: type[Any] | None = None
    supports: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := self.supports - WORDS:
            raise ConfigError(
                f"mixer {self.name!r} supports {', '.join(sorted(unknown))}, which is not one of "
                f"{', '.join(sorted(WORDS))}"
            )

    def read_options(self, values: Mapping[str, Any]) -> Any:
        """The mixer's options from plain values.

        Raises
        ------
        ConfigError
            For an option that the mixer does not have, or a value that it refuses.
        """
        return read_options(f"mixer {self.name!r}", self.options, values, "mixer_options")


def _attention(config: CoreConfig, layer: int, _options: None) -> nn.Module:
    return Attention(config, window=config.layer_window(layer))


ATTENTION = Mixer(name="attention", factory=_attention, supports=WORDS - {"order"})

# As values of entry points: the module, imported on first use, and the name of the Mixer in it.
_BUILT_IN = {
    "hyena_short": "biolm.core.hyena:SHORT",
    "hyena_medium": "biolm.core.hyena:MEDIUM",
    "hyena_long": "biolm.core.hyena:LONG",
    "hyena_modal": "biolm.core.hyena:MODAL",
    "hyena_implicit": "biolm.core.hyena_implicit:IMPLICIT",
    "performer": "biolm.core.performer:PERFORMER",
    "flowformer": "biolm.core.flowformer:FLOWFORMER",
    "two_stream": "biolm.core.two_stream:TWO_STREAM",
    "attention_stored_rope": "biolm.core.stored_rope:STORED_ROPE",
}
_MIXERS = Registry(Mixer, "biolm.mixers", _BUILT_IN, (ATTENTION,))


def register_mixer(mixer: Mixer) -> None:
    """Offer ``CoreConfig(mixer=mixer.name)`` in this process.

    Saved models that use it load only where it is registered; a package that brings mixers names them in the
    entry point group ``biolm.mixers`` instead (``name = "module:MIXER"``).

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    _MIXERS.register(mixer)


def find_mixer(name: str) -> Mixer:
    """The mixer of that name.

    Raises
    ------
    ConfigError
        If there is none, or it cannot be imported.
    """
    return _MIXERS.find(name, "mixer")


def make_mixer(config: CoreConfig, layer: int) -> nn.Module:
    """The mixer of one layer.

    Parameters
    ----------
    config
        Of the core.
    layer
        Its number.

    Raises
    ------
    ConfigError
        If the config names none that exists, or gives it options that it does not have.
    """
    mixer = find_mixer(config.layer_mixer(layer))
    return mixer.factory(config, layer, mixer.read_options(config.mixer_options.get(mixer.name, {})))


def lacking(config: CoreConfig, word: str) -> dict[int, str]:
    """Layers whose mixer does not support ``word``, with its name.

    Parameters
    ----------
    config
        Of the core.
    word
        One of what mixers support.
    """
    names = {layer: config.layer_mixer(layer) for layer in range(config.n_layers)}
    return {layer: name for layer, name in names.items() if word not in find_mixer(name).supports}


def check_mixers(config: CoreConfig) -> None:
    """Refuse a config that asks for what one of its mixers ignores.

    Raises
    ------
    ConfigError
        Names the field, the mixer and the layers.
    """
    refuse = _Refusal(config)
    if config.causal:
        refuse.any_lacks("causal", "causal=True")
    else:
        refuse.any_lacks("bidirectional", "causal=False")
    windowed = [layer for layer in range(config.n_layers) if config.layer_window(layer)]
    refuse.any_lacks("window", f"window={config.window}", windowed)
    word = {"rope": "rope", "alibi": "bias", "t5": "bias"}.get(config.position)
    if word is not None:
        unordered = [layer for layer in lacking(config, "order") if layer in lacking(config, word)]
        refuse.any_lacks(word, f"position={config.position!r}", unordered)
        refuse.all_lack(word, f"position={config.position!r}")
    for field, used in (
        ("qk_norm", config.qk_norm != "none"),
        ("attn_scale", config.attn_scale is not None),
        ("attn_softcap", config.attn_softcap is not None),
        ("n_kv_heads", config.n_kv_heads != config.n_heads),
        ("dropout_attention", config.dropout_attention > 0),
    ):
        if used:
            refuse.all_lack("attention", f"{field}={getattr(config, field)!r}")


class _Refusal:
    def __init__(self, config: CoreConfig) -> None:
        self.config = config

    def any_lacks(self, word: str, asked: str, layers: list[int] | None = None) -> None:
        """Every layer (of some) must support the word."""
        without = lacking(self.config, word)
        faulty = [layer for layer in without if layers is None or layer in layers]
        if faulty:
            shown = ", ".join(str(layer) for layer in faulty[:6]) + (" ..." if len(faulty) > 6 else "")
            raise ConfigError(
                f"{asked} is not supported by the mixer {without[faulty[0]]!r} of layer {shown}; "
                "change the field or the mixer"
            )

    def all_lack(self, word: str, asked: str) -> None:
        """At least one layer must support the word, or nothing would read the field."""
        if len(lacking(self.config, word)) == self.config.n_layers:
            raise ConfigError(f"{asked} is read by no mixer of this config; leave it out")
