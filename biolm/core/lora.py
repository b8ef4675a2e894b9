"""Low-rank adapters on any named linear layer (LoRA, Hu et al. 2021).

Dimensions: ``t`` tokens · ``i`` input width · ``o`` output width · ``r`` rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from biolm.core.checkpoint import load_strict, read_weights, write_weights
from biolm.errors import CheckpointError, ConfigError
from biolm.io.atomic import replacing_folder

__all__ = [
    "LoraConfig",
    "LoraLinear",
    "add_lora",
    "fold_lora",
    "load_lora",
    "merge_lora",
    "save_lora",
    "unmerge_lora",
]

_WEIGHTS, _CONFIG = "adapter.safetensors", "adapter.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Which layers get adapters, and of what size.

    Parameters
    ----------
    layers
        Names of linear layers, with ``*`` for any part: ``*.attention.query`` or ``layers.3.mlp.*``.
    rank
        ``r``.
    alpha
        The update is scaled by ``alpha / rank``.
    dropout
        On the adapter's input, in training.

    Raises
    ------
    ConfigError
        For a rank below 1 or a dropout outside [0, 1).
    """

    layers: tuple[str, ...] = ("*.attention.query", "*.attention.value")
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"LoRA rank must be at least 1, not {self.rank}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"LoRA dropout must lie in [0, 1), not {self.dropout}")


class LoraLinear(nn.Module):
    """``base(x) + scale * up(down(x))``, where only ``down`` and ``up`` learn.

    ``up`` starts at zero, so a fresh adapter changes nothing.

    Parameters
    ----------
    base
        The layer it stands on; its weights are frozen.
    config
        Rank, scale and dropout.
    """

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        weight = base.weight
        self.down = nn.Parameter(weight.new_empty(config.rank, base.in_features))  # (r, i)
        self.up = nn.Parameter(weight.new_zeros(base.out_features, config.rank))  # (o, r)
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.merged = False
        # A new module would be in training mode, whatever the model around it is in.
        self.train(base.training)

    def delta(self) -> Tensor:
        """``(o, i)`` what the adapter adds to the base weight."""
        return self.scale * (self.up @ self.down)

    def forward(self, x: Tensor) -> Tensor:
        """``(t, i)`` to ``(t, o)``."""
        out: Tensor = self.base(x)
        if self.merged:
            return out
        low = nn.functional.linear(self.dropout(x), self.down)  # (t, r)
        return out + self.scale * nn.functional.linear(low, self.up)


def add_lora(model: nn.Module, config: LoraConfig) -> list[str]:
    """Put adapters on the named layers, in place, and freeze everything else.

    Parameters
    ----------
    model
        Changed in place.
    config
        Ranks and names of the layers.

    Returns
    -------
    Names of the layers that have one now.

    Raises
    ------
    ConfigError
        If a name fits no linear layer, or the model has adapters already.

    Examples
    --------
    >>> from biolm.core import CoreConfig, Transformer
    >>> model = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8))
    >>> add_lora(model, LoraConfig(rank=2))
    ['layers.0.attention.query', 'layers.0.attention.value']
    """
    if any(_adapters(model)):
        raise ConfigError("the model has LoRA adapters already; fold them first with fold_lora")
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for pattern in config.layers:
        if not any(fnmatchcase(name, pattern) for name in linear):
            raise ConfigError(f"LoRA layer {pattern!r} fits none of the linear layers {_examples(linear)}")
    chosen = [name for name in linear if any(fnmatchcase(name, pattern) for pattern in config.layers)]
    model.requires_grad_(False)
    for name in chosen:
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear)
        _replace(model, name, LoraLinear(base, config))
    return chosen


def merge_lora(model: nn.Module) -> None:
    """Add every adapter to its base weight, for inference at the base model's speed."""
    for _, adapter in _adapters(model):
        if not adapter.merged:
            with torch.no_grad():
                adapter.base.weight += adapter.delta()
            adapter.merged = True


def unmerge_lora(model: nn.Module) -> None:
    """Take merged adapters out of the base weights again (equal to rounding)."""
    for _, adapter in _adapters(model):
        if adapter.merged:
            with torch.no_grad():
                adapter.base.weight -= adapter.delta()
            adapter.merged = False


def fold_lora(model: nn.Module) -> None:
    """Merge every adapter and put plain linear layers back, so that the model saves as any other."""
    merge_lora(model)
    for name, adapter in list(_adapters(model)):
        _replace(model, name, adapter.base)


def save_lora(model: nn.Module, folder: str | Path, config: LoraConfig) -> None:
    """Write the adapters alone: ``adapter.safetensors`` and ``adapter.json``.

    Parameters
    ----------
    model
        With adapters.
    folder
        That is there.
    config
        Of the adapters.

    Raises
    ------
    ConfigError
        If the model has none.
    """
    tensors = _tensors(model)
    if not tensors:
        raise ConfigError("the model has no LoRA adapters to save; add them with add_lora")
    with replacing_folder(Path(folder), _CONFIG, overwrite=True) as target:
        write_weights(target / _WEIGHTS, tensors)
        (target / _CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


def load_lora(model: nn.Module, folder: str | Path) -> LoraConfig:
    """Put saved adapters on a model of the same shape.

    Parameters
    ----------
    model
        Changed in place.
    folder
        Of the adapters.

    Raises
    ------
    CheckpointError
        If files are missing or the adapters do not fit.
    """
    folder = Path(folder)
    try:
        values = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        config = LoraConfig(**{**values, "layers": tuple(values["layers"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{folder / _CONFIG} is missing or damaged; give a folder of save_lora"
        ) from error
    add_lora(model, config)
    holder = nn.Module()
    for name, adapter in _adapters(model):
        for part in ("down", "up"):
            holder.register_parameter(f"{name}.{part}".replace(".", "/"), getattr(adapter, part))
    weights = read_weights([folder / _WEIGHTS])
    load_strict(
        holder, {name.replace(".", "/"): tensor for name, tensor in weights.items()}, folder / _WEIGHTS
    )
    return config


def _adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{part}": getattr(adapter, part)
        for name, adapter in _adapters(model)
        for part in ("down", "up")
    }


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
