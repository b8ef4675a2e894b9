"""LoRA adapters in the layout of the ``peft`` library, folded into the core of their base model.

Dimensions: ``i`` input width · ``o`` output width · ``r`` rank.

Source of the layout: ``adapter_config.json`` and ``adapter_model.safetensors`` of the library, whose
update of a layer is ``B (o, r) @ A (r, i)`` times ``lora_alpha / r``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biolm.core import Transformer
from biolm.core.checkpoint import read_weights
from biolm.errors import CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.models.families.hf import family, type_of
from biolm.progress import log

__all__ = ["add_peft", "base_of", "is_peft"]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PART = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_HEAD = re.compile(r"base_model\.model\.(classifier|score|qa_outputs)\.")
_OTHER_KINDS = ("use_dora", "rank_pattern", "alpha_pattern")


def is_peft(folder: Path) -> bool:
    """Whether a folder holds adapters alone, as ``peft`` saves them."""
    return (folder / _CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """The model that the adapters belong to: a folder, from here or from the adapters' own, or a hub id.

    Raises
    ------
    CheckpointError
        If the config names none.
    """
    named = read_json(folder / _CONFIG).get("base_model_name_or_path")
    if not named:
        raise CheckpointError(f"{folder / _CONFIG} names no base model (base_model_name_or_path)")
    beside = folder / str(named)
    return str(beside) if beside.is_dir() else str(named)


def add_peft(core: Transformer, folder: Path, base: Path) -> Path:
    """Add the adapters of a folder to the weights of a core, in place.

    Parameters
    ----------
    core
        Of the base model.
    folder
        With the adapters.
    base
        Folder of the base model, whose family tells the names of layers.

    Returns
    -------
    The file of the adapters.

    Raises
    ------
    CheckpointError
        If files are missing, or weights do not fit the model.
    ConfigError
        If the adapters are of another kind than plain LoRA.
    """
    values = read_json(folder / _CONFIG)
    other = [name for name in _OTHER_KINDS if values.get(name)]
    if values.get("peft_type") != "LORA" or other or values.get("bias", "none") != "none":
        kind = ", ".join(other) or f"{values.get('peft_type')}, bias {values.get('bias', 'none')}"
        raise ConfigError(
            f"{folder} holds adapters of a kind that is not read ({kind}); merge them with peft"
        )
    path = folder / _WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {_WEIGHTS}; save the adapters with peft as safetensors")
    updates = _updates(path, values)
    members = family(type_of(read_json(base / "config.json")))
    ours = members.KEYS.theirs_to_ours(updates, core.config, path)
    weights = dict(core.named_parameters())
    for name, update in ours.items():
        if name not in weights or weights[name].shape != update.shape:
            raise CheckpointError(
                f"{path} does not fit {base}: its update of {name} is {tuple(update.shape)}"
            )
    with torch.no_grad():
        for name, update in ours.items():
            weights[name].add_(update)
    return path


def _updates(path: Path, values: dict[str, Any]) -> dict[str, Tensor]:
    """``(o, i)`` what is added to each published weight."""
    halves: dict[str, dict[str, Tensor]] = {}
    left: list[str] = []
    unknown: list[str] = []
    for name, tensor in read_weights([path]).items():
        if match := _PART.fullmatch(name):
            halves.setdefault(match[1], {})[match[2]] = tensor.float()
        else:
            (left if _HEAD.match(name) else unknown).append(name)
    # Half an adapter adds nothing, and would pass for a whole one that changes little.
    lone = [name for name, parts in halves.items() if len(parts) < 2]
    if unknown or lone or not halves:
        wrong = ", ".join([*unknown, *lone][:6]) or "no LoRA weights"
        raise CheckpointError(f"{path} holds what is no whole LoRA adapter: {wrong}")
    if left:
        log.info("%s: the classifier is left out (%s)", path, ", ".join(left))
    try:
        rank, alpha = int(values["r"]), float(values["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.with_name(_CONFIG)} lacks r or lora_alpha") from error
    scale = alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)
    updates = {f"{name}.weight": scale * (parts["B"] @ parts["A"]) for name, parts in halves.items()}
    # GPT-2 keeps its matrices the other way round.
    return {name: each.t() if values.get("fan_in_fan_out") else each for name, each in updates.items()}
