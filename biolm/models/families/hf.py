"""Families that the ``transformers`` library publishes: folders in, folders out.

Adding a family is adding one file with the three names of :class:`Family` and one line in ``FAMILIES``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import check_size, find_weights, load_strict, read_weights, write_weights
from biolm.errors import CheckpointError, ConfigError
from biolm.io.atomic import replacing_folder
from biolm.io.damage import damage_named
from biolm.io.json_file import read_json
from biolm.models.families.keys import KeyTable
from biolm.progress import log

__all__ = ["FAMILIES", "Family", "core_of", "family", "from_hf", "to_hf", "type_of"]

FAMILIES: dict[str, str] = {
    "AMPLIFY": "biolm.models.families.amplify",
    "albert": "biolm.models.families.albert",
    "bart": "biolm.models.families.bart",
    "bert": "biolm.models.families.bert",
    "biogpt": "biolm.models.families.biogpt",
    "ctrl": "biolm.models.families.ctrl",
    "dinov2": "biolm.models.families.dinov2",
    "dnabert2": "biolm.models.families.dnabert2",
    "esm": "biolm.models.families.esm",
    "esmc": "biolm.models.families.esmc",
    "falcon": "biolm.models.families.falcon",
    "gemma": "biolm.models.families.gemma",
    "gemma2": "biolm.models.families.gemma",
    "gemma3_text": "biolm.models.families.gemma",
    "gena": "biolm.models.families.gena",
    "gpt2": "biolm.models.families.gpt2",
    "gpt_neo": "biolm.models.families.gpt_neo",
    "gpt_neox": "biolm.models.families.gpt_neox",
    "gptj": "biolm.models.families.gptj",
    "llama": "biolm.models.families.llama",
    "mistral": "biolm.models.families.mistral",
    "modernbert": "biolm.models.families.modernbert",
    "ntv2": "biolm.models.families.ntv2",
    "openai-gpt": "biolm.models.families.gpt1",
    "opt": "biolm.models.families.opt",
    "phi": "biolm.models.families.phi",
    "progen": "biolm.models.families.progen2",
    "qwen3": "biolm.models.families.qwen3",
    "roberta": "biolm.models.families.roberta",
    "stablelm": "biolm.models.families.stablelm",
    "t5": "biolm.models.families.t5",
    "timm_vit": "biolm.models.families.timm_vit",
    "vit": "biolm.models.families.vit",
    "xlnet": "biolm.models.families.xlnet",
}
"""``model_type`` of a ``config.json`` to the module that reads it, imported on first use."""

MOST_LAYERS = 10_000


# Classes of fine-tuned models, and where they keep what they learned beside the core.
_TUNED = re.compile(r"For(Sequence|Token|Image)Classification$|ForQuestionAnswering$|ForMultipleChoice$")
_HEADS = ("classifier.", "score.", "qa_outputs.")
# Names of first releases, before transformers had the family.
_FIRST_NAMES = {"RefinedWeb": "falcon", "RefinedWebModel": "falcon", "phi-msft": "phi"}


class Family(Protocol):
    """What a family's module offers.

    It may also have ``adapt(core, tensors) -> core`` for what only the weights tell, and
    ``extra_weights(core) -> tensors`` for published tensors that the core computes.
    """

    KEYS: KeyTable

    def core_config(self, config: Mapping[str, Any]) -> CoreConfig:
        """Core config of a ``config.json``, in its v4 or v5 spelling."""
        ...

    def hf_config(self, config: CoreConfig) -> dict[str, Any]:
        """The ``config.json`` that ``transformers`` loads for a core config of this family."""
        ...


def family(model_type: str) -> Family:
    """The module of a ``model_type``.

    Raises
    ------
    ConfigError
        If no family has that name; the message lists those that exist.
    """
    if model_type not in FAMILIES:
        raise ConfigError(f"model_type {model_type!r} is not one of {', '.join(sorted(FAMILIES))}")
    return cast(Family, import_module(FAMILIES[model_type]))


def type_of(config: dict[str, Any]) -> str:
    """Which family a ``config.json`` is of, by the names of ``FAMILIES``."""
    # These call themselves BERT or ESM, but have other positions, blocks or feed-forwards.
    if "alibi_starting_size" in config:
        return "dnabert2"
    if config.get("pre_layer_norm"):
        return "gena"
    if config.get("add_bias_fnn") is False:
        return "ntv2"
    if "architecture" in config and "model_type" not in config:
        return "timm_vit"
    name = str(config.get("model_type"))
    return _FIRST_NAMES.get(name, name)


@damage_named("the checkpoint", CheckpointError, "fetch it again")
def from_hf(folder: str | Path, *, ignore: Collection[str] = ()) -> Transformer:
    """Load a folder written by ``save_pretrained``: config.json with safetensors or ``.bin`` weights.

    Parameters
    ----------
    folder
        The folder.
    ignore
        Published names of weights that the caller reads itself, such as those of a classifier.

    Raises
    ------
    CheckpointError
        If weights are missing, extra, mis-shaped or unsafe.
    ConfigError
        If the family is unknown or the config impossible.

    Examples
    --------
    >>> model = from_hf("checkpoints/all-MiniLM-L6-v2")  # doctest: +SKIP
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    members = family(type_of(config))
    core = core_of(members, config, folder / "config.json")
    read = read_weights(find_weights(folder))
    left = _classifier(config, core, read)
    if left:
        log.info("%s: the core is read, the classifier is left out (%s)", folder, ", ".join(left))
    tensors = {name: tensor for name, tensor in read.items() if name not in {*ignore, *left}}
    core = _adapted(members, core, tensors)
    check_size(core, tensors, folder)
    model = Transformer(core)
    ours = members.KEYS.theirs_to_ours(tensors, core, folder)
    load_strict(model, ours, folder, lambda name: members.KEYS.published(name, core))
    return model.eval()


def core_of(members: Family, config: dict[str, Any], place: Path) -> CoreConfig:
    """Core config of a ``config.json``, whatever it holds.

    Parameters
    ----------
    members
        The family.
    config
        Content of the file.
    place
        The file, for messages.

    Raises
    ------
    CheckpointError
        If a field is missing or of another kind than the family's.
    ConfigError
        If the config is impossible.
    """
    # Families go through the layers one by one before the core config looks at their number.
    for name, value in config.items():
        if "layer" in name and isinstance(value, int) and value > MOST_LAYERS:
            raise CheckpointError(f"{place}: {name} must be at most {MOST_LAYERS:,}, not {value:,}")
    try:
        return members.core_config(config)
    except ConfigError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{place} lacks the field {error}; fetch it again") from error
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise CheckpointError(f"{place} holds a value of the wrong kind ({error}); fetch it again") from error


def to_hf(model: Transformer, folder: str | Path, model_type: str) -> None:
    """Write a folder that ``transformers`` loads with ``from_pretrained``.

    Parameters
    ----------
    model
        To write.
    folder
        Made if needed.
    model_type
        In ``transformers``.

    Raises
    ------
    CheckpointError
        If the model has weights that the family has no name for.
    ConfigError
        If the family's ``config.json`` cannot say all that the core config does.
    """
    folder = Path(folder)
    members = family(model_type)
    values = members.hf_config(model.config)
    tensors = members.KEYS.ours_to_theirs(model.state_dict(), model.config)
    if extra := getattr(members, "extra_weights", None):
        tensors |= extra(model.config)
    lost = _differences(model.config, _adapted(members, members.core_config(values), tensors))
    if lost:
        raise ConfigError(f"a {model_type} model cannot have {', '.join(lost)}; choose another type")
    with replacing_folder(folder, "config.json", overwrite=True) as target:
        write_weights(target / "model.safetensors", tensors)
        (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _classifier(config: dict[str, Any], core: CoreConfig, names: Iterable[str]) -> list[str]:
    """Weights of the head of a fine-tuned model, which the core has no place for; empty for other models."""
    tuned = any(_TUNED.search(name) for name in config.get("architectures") or [])
    heads = (*_HEADS, "head.") if core.head == "none" else _HEADS
    return sorted(name for name in names if name.startswith(heads)) if tuned else []


def _adapted(members: Family, core: CoreConfig, tensors: dict[str, Tensor]) -> CoreConfig:
    adapt: Callable[[CoreConfig, dict[str, Tensor]], CoreConfig] | None = getattr(members, "adapt", None)
    return core if adapt is None else adapt(core, tensors)


def _differences(wanted: CoreConfig, expected: CoreConfig) -> list[str]:
    """Fields of ``wanted`` that ``expected`` has otherwise, with their values."""
    names = [field.name for field in fields(wanted)]
    changed = [name for name in names if getattr(wanted, name) != getattr(expected, name)]
    return [f"{name}={getattr(wanted, name)!r}" for name in changed]
