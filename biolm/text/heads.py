"""A folder with an encoder and one linear head, in the layout of ``transformers``: read, made, written.

Dimensions: ``d`` width · ``k`` outputs of the head.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from biolm.core.checkpoint import find_weights, read_some, read_weights, write_weights
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.models.families.hf import from_hf, to_hf
from biolm.text.encoder import Encoder, Padded, load_padded, width_of

__all__ = [
    "ANSWERS",
    "TAGS",
    "Head",
    "bare_encoder",
    "copy_tokenizer",
    "encoder_kind",
    "load_head",
    "new_linear",
    "save_head",
    "whole_model",
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
    """``model_type`` of a folder, such as ``bert``."""
    return str(read_json(folder / "config.json").get("model_type", ""))


def bare_encoder(folder: Path, head: Head) -> Encoder:
    """The encoder of a folder that can take a head; a head that it has already is left out.

    BERT and RoBERTa run on the core; other families through transformers, where their heads are one linear
    layer, as DistilBERT's, ELECTRA's and DeBERTa's are.

    Parameters
    ----------
    folder
        As ``save_pretrained`` lays it out.
    head
        What the head is to do.

    Raises
    ------
    CheckpointError
        If the family has no such head, or one with layers of its own.
    """
    kind = encoder_kind(folder)
    if kind in _PREFIX:
        return from_hf(folder, ignore=[f"{head.name}.weight", f"{head.name}.bias"])
    encoder = load_padded(folder)
    # Refuses a family whose head is not one linear layer before hours of training, not after.
    whole_model(encoder, head, {})
    return encoder


def whole_model(encoder: Padded, head: Head, extra: Mapping[str, Any]) -> nn.Module:
    """The model of transformers that an encoder and a linear head make, the head new.

    Parameters
    ----------
    encoder
        The encoder.
    head
        What the head does.
    extra
        Further values of its config.

    Raises
    ------
    CheckpointError
        If the family has no such model, or more in its head than one linear layer.
    """
    import transformers

    config: Any = copy.deepcopy(encoder.model.config)
    for name, value in extra.items():
        setattr(config, name, value)
    automatic = getattr(transformers, f"AutoModel{head.architecture}")
    try:
        module: nn.Module = automatic.from_config(config)
    except ValueError as error:
        raise CheckpointError(
            f"transformers has no model for {head.purpose} of the family {config.model_type!r}; "
            "give an encoder"
        ) from error
    prefix = f"{module.base_model_prefix}."
    own = {name for name, _ in module.named_parameters() if not name.startswith(prefix)}
    # XLM's head for answers, for one, has layers more, which would stay at random.
    if own != {f"{head.name}.weight", f"{head.name}.bias"}:
        raise CheckpointError(
            f"heads of the family {config.model_type!r} are more than one linear layer, which biolm does not "
            "train; give an encoder such as BERT, RoBERTa, DistilBERT or ELECTRA"
        )
    return module


def new_linear(core: Encoder, outputs: int) -> nn.Linear:
    """A head to be trained.

    Parameters
    ----------
    core
        The encoder.
    outputs
        Of the head.
    """
    module = nn.Linear(width_of(core), outputs)
    # As transformers starts heads of these families, so that runs compare.
    nn.init.normal_(module.weight, std=0.02)
    nn.init.zeros_(module.bias)
    return module


def load_head(folder: Path, head: Head) -> tuple[Encoder, nn.Linear]:
    """The encoder and the trained head of a folder.

    Parameters
    ----------
    folder
        Of the model.
    head
        Which is meant.

    Raises
    ------
    CheckpointError
        If there is no trained head: random outputs would look like results.
    """
    names = (f"{head.name}.weight", f"{head.name}.bias")
    weights = read_some(find_weights(folder), names)
    if set(weights) != set(names):
        raise CheckpointError(
            f"{folder} holds an encoder without a trained head for {head.purpose}; train one first "
            f"({head.command}) or give the folder of one that has it"
        )
    core = bare_encoder(folder, head)
    linear = new_linear(core, len(weights[names[1]]))
    linear.load_state_dict({"weight": weights[names[0]], "bias": weights[names[1]]})
    return core, linear


def save_head(
    core: Encoder, linear: nn.Linear, head: Head, folder: Path, kind: str, extra: Mapping[str, Any]
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
    if isinstance(core, Padded):
        module: Any = whole_model(core, head, {"num_labels": linear.out_features})
        # A pooler, which some encoders have, is no part of it.
        wanted = module.base_model.state_dict()
        given = {name: value for name, value in core.model.state_dict().items() if name in wanted}
        module.base_model.load_state_dict(given)
        getattr(module, head.name).load_state_dict(linear.state_dict())
        module.save_pretrained(folder)
    else:
        to_hf(core, folder, kind)
        prefix = _PREFIX[kind]
        stored = read_weights([folder / "model.safetensors"])
        # A head that predicts tokens is no part of what is trained here.
        kept = {name: value for name, value in stored.items() if not name.startswith(("cls.", "lm_head."))}
        named = {name if name.startswith(prefix) else prefix + name: value for name, value in kept.items()}
        named |= {f"{head.name}.{name}": value for name, value in linear.state_dict().items()}
        write_weights(folder / "model.safetensors", named)
    config = read_json(folder / "config.json")
    if not isinstance(core, Padded):
        config["architectures"] = [f"{kind.capitalize()}{head.architecture}"]
    (folder / "config.json").write_text(json.dumps(config | dict(extra), indent=2) + "\n", encoding="utf-8")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Put the tokenizer's files beside the weights.

    Parameters
    ----------
    source, target
        Folders.
    """
    # Whichever of them are there: families differ in what they need.
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt"):
        if (source / name).is_file():
            shutil.copy(source / name, target / name)
