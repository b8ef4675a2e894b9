"""A folder with an encoder and one linear head, in the layout of ``transformers``: read, made, written.

Dimensions: ``d`` width · ``k`` outputs of the head.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from biolm.core import Transformer
from biolm.core.checkpoint import find_weights, read_some, read_weights, write_weights
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.models.families.hf import from_hf, to_hf

__all__ = [
    "ANSWERS",
    "TAGS",
    "Head",
    "copy_tokenizer",
    "encoder_kind",
    "load_head",
    "new_linear",
    "save_head",
]

_PREFIX = {"bert": "bert.", "roberta": "roberta."}


@dataclass(frozen=True, slots=True)
class Head:
    """What a head is called in a file, and what it does."""

    name: str
    architecture: str
    purpose: str
    command: str


TAGS = Head("classifier", "ForTokenClassification", "named entities", "biolm text ner train")
ANSWERS = Head("qa_outputs", "ForQuestionAnswering", "answers in a text", "biolm text qa train")


def encoder_kind(folder: Path) -> str:
    """``model_type`` of a folder whose encoder can take a head.

    Raises
    ------
    CheckpointError
        If the family is not one of them.
    """
    kind = str(read_json(folder / "config.json").get("model_type", ""))
    if kind not in _PREFIX:
        raise CheckpointError(
            f"{folder} is of the family {kind!r}; heads are trained on encoders of the families "
            f"{', '.join(_PREFIX)}"
        )
    return kind


def new_linear(core: Transformer, outputs: int) -> nn.Linear:
    """A head to be trained."""
    made = nn.Linear(core.config.d_model, outputs)
    nn.init.normal_(made.weight, std=0.02)
    nn.init.zeros_(made.bias)
    return made


def load_head(folder: Path, head: Head) -> tuple[Transformer, nn.Linear]:
    """The encoder and the trained head of a folder.

    Raises
    ------
    CheckpointError
        If there is no trained head: random outputs would look like results.
    """
    encoder_kind(folder)
    names = (f"{head.name}.weight", f"{head.name}.bias")
    found = read_some(find_weights(folder), names)
    if set(found) != set(names):
        raise CheckpointError(
            f"{folder} holds an encoder without a trained head for {head.purpose}; train one first "
            f"({head.command}) or give the folder of one that has it"
        )
    core = from_hf(folder, ignore=names)
    linear = new_linear(core, len(found[names[1]]))
    linear.load_state_dict({"weight": found[names[0]], "bias": found[names[1]]})
    return core, linear


def save_head(
    core: Transformer, linear: nn.Linear, head: Head, folder: Path, kind: str, extra: Mapping[str, Any]
) -> None:
    """Write a folder that ``transformers`` loads.

    Parameters
    ----------
    core, linear
        Encoder and head.
    head
        What it does.
    folder
        Where to write.
    kind
        ``model_type``.
    extra
        Further values of ``config.json``.
    """
    to_hf(core, folder, kind)
    prefix = _PREFIX[kind]
    stored = read_weights([folder / "model.safetensors"])
    # A head that predicts tokens is no part of what is trained here.
    tensors = {name: value for name, value in stored.items() if not name.startswith(("cls.", "lm_head."))}
    named = {name if name.startswith(prefix) else prefix + name: value for name, value in tensors.items()}
    named |= {f"{head.name}.{name}": value for name, value in linear.state_dict().items()}
    write_weights(folder / "model.safetensors", named)
    config = read_json(folder / "config.json")
    config["architectures"] = [f"{kind.capitalize()}{head.architecture}"]
    (folder / "config.json").write_text(json.dumps(config | dict(extra), indent=2) + "\n", encoding="utf-8")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Put the tokenizer's files beside the weights."""
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
