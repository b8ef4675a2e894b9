"""What references written out by hand have in common: weights by their published names, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class Stored(nn.Module):
    """Weights by their published names, float32 as on disk."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings = config
        self.weights = {
            name: nn.Parameter(_initial(name, size)) for name, size in self.shapes(config).items()
        }
        for i, parameter in enumerate(self.weights.values()):
            self.register_parameter(f"p{i}", parameter)

    @staticmethod
    def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        raise NotImplementedError

    @property
    def base_model(self) -> nn.Module:
        return self

    def save_pretrained(self, folder: str | Path, max_shard_size: str | None = None) -> None:
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.settings))
        tensors = {name: parameter.detach() for name, parameter in self.weights.items()}
        if max_shard_size is None:
            save_file(tensors, folder / "model.safetensors")
            return
        names = sorted(tensors)
        shards = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
        for file in set(shards.values()):
            save_file({name: tensors[name] for name in names if shards[name] == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))

    @classmethod
    def from_pretrained(cls, folder: Path, **_: Any) -> tuple[Self, dict[str, list[str]]]:
        model = cls(json.loads((folder / "config.json").read_text()))
        tensors = load_file(folder / "model.safetensors")
        common = tensors.keys() & model.weights.keys()
        with torch.no_grad():
            for name in common:
                model.weights[name].copy_(tensors[name])
        return model, {
            "missing_keys": sorted(model.weights.keys() - common),
            "unexpected_keys": sorted(tensors.keys() - common),
            "mismatched_keys": [],
        }


class Result(list[Any]):
    """A list with names, as model outputs are."""

    def __init__(self, values: list[Any], **named: Any) -> None:
        super().__init__(values)
        self.__dict__.update(named)


def affine(name: str, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a linear map or norm."""
    return {f"{name}.weight": size, f"{name}.bias": size[:1]}


def _initial(name: str, size: tuple[int, ...]) -> Tensor:
    normed = any(word in name.lower() for word in ("norm", "_ln", "ln_"))
    return torch.ones(size) if normed and name.endswith("weight") else torch.zeros(size)
