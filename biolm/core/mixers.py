"""Token mixers by name: attention, and what other packages register in its place.

A mixer is built as ``factory(config, window)`` and called as ``mixer(x, context)`` on packed tokens
``(t, d)``; convolutional and kernelised mixers are files that call :func:`register_mixer`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from biolm.core.attention import Attention
from biolm.core.config import CoreConfig
from biolm.errors import ConfigError

__all__ = ["make_mixer", "register_mixer"]

_MIXERS: dict[str, Callable[[CoreConfig, int], nn.Module]] = {
    "attention": lambda config, window: Attention(config, window=window)
}


def register_mixer(name: str, factory: Callable[[CoreConfig, int], nn.Module]) -> None:
    """Offer ``CoreConfig(mixer=name)``.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    if name in _MIXERS:
        raise ConfigError(f"a mixer named {name!r} is registered already; choose another name")
    _MIXERS[name] = factory


def make_mixer(config: CoreConfig, window: int) -> nn.Module:
    """The mixer of one layer.

    Raises
    ------
    ConfigError
        If the config names none that is registered.
    """
    if config.mixer not in _MIXERS:
        raise ConfigError(f"mixer must be one of {', '.join(sorted(_MIXERS))}, not {config.mixer!r}")
    return _MIXERS[config.mixer](config, window)
