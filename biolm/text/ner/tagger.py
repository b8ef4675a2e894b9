"""A tagger: an encoder with one linear layer over its states, in the layout of ``transformers``.

Dimensions: ``t`` pieces of a packed batch · ``d`` width · ``k`` labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.core.checkpoint import find_weights, read_some, read_weights, write_weights
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.models.families.hf import from_hf, to_hf
from biolm.text.ner.labels import LabelSet

__all__ = ["Tagger", "load_tagger", "new_tagger", "save_tagger"]

_HEAD = ("classifier.weight", "classifier.bias")
_PREFIX = {"bert": "bert.", "roberta": "roberta."}


class Tagger(nn.Module):
    """Label scores of every piece.

    Parameters
    ----------
    core
        The encoder.
    labels
        What it tells apart.
    kind
        ``model_type`` of the folder.
    """

    def __init__(self, core: Transformer, labels: LabelSet, kind: str, dropout: float = 0.1) -> None:
        super().__init__()
        self.core, self.labels, self.kind = core, labels, kind
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(core.config.d_model, len(labels.names))
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Scores ``(t, k)``."""
        states = self.core(batch, logits=False).last_hidden_state
        return self.classifier(self.dropout(states))  # type: ignore[no-any-return]


def new_tagger(folder: Path, labels: LabelSet, *, dropout: float = 0.1) -> Tagger:
    """An encoder's folder with a new head, to be trained.

    Raises
    ------
    CheckpointError
        If the family is not one that a tagger can be built on.
    """
    kind = _kind(folder)
    return Tagger(from_hf(folder), labels, kind, dropout)


def _kind(folder: Path) -> str:
    kind = str(read_json(folder / "config.json").get("model_type", ""))
    if kind not in _PREFIX:
        raise CheckpointError(
            f"{folder} is of the family {kind!r}; named entities are tagged with encoders of the families "
            f"{', '.join(_PREFIX)}"
        )
    return kind


def load_tagger(folder: Path) -> Tagger:
    """A trained tagger, of biolm or of ``transformers``.

    Raises
    ------
    CheckpointError
        If the folder holds no trained head: random labels would look like results.
    """
    config = read_json(folder / "config.json")
    kind = _kind(folder)
    head = read_some(find_weights(folder), _HEAD)
    if set(head) != set(_HEAD):
        raise CheckpointError(
            f"{folder} holds an encoder without a trained head for named entities; train one first "
            "(biolm text ner train) or give the folder of a tagger"
        )
    names = {int(number): name for number, name in config.get("id2label", {}).items()}
    if len(names) != len(head[_HEAD[1]]):
        raise CheckpointError(f"{folder} names {len(names)} labels but its head has {len(head[_HEAD[1]])}")
    labels = LabelSet.named([names[number] for number in sorted(names)])
    tagger = Tagger(_core_of(folder), labels, kind)
    tagger.classifier.load_state_dict({"weight": head[_HEAD[0]], "bias": head[_HEAD[1]]})
    return tagger.eval()


def _core_of(folder: Path) -> Transformer:
    return from_hf(folder, ignore=_HEAD)


def save_tagger(tagger: Tagger, folder: Path, extra: dict[str, Any]) -> None:
    """Write a folder that ``transformers`` loads as ``AutoModelForTokenClassification``.

    Parameters
    ----------
    tagger
        The model.
    folder
        Where to write.
    extra
        Plain values for ``config.json``: what it was trained on.
    """
    to_hf(tagger.core, folder, tagger.kind)
    prefix = _PREFIX[tagger.kind]
    tensors = read_weights([folder / "model.safetensors"])
    named = {name if name.startswith(prefix) else prefix + name: value for name, value in tensors.items()}
    named |= {f"classifier.{name}": value for name, value in tagger.classifier.state_dict().items()}
    write_weights(folder / "model.safetensors", named)
    config = read_json(folder / "config.json")
    config["architectures"] = [f"{tagger.kind.capitalize()}ForTokenClassification"]
    config["id2label"] = {str(number): name for number, name in enumerate(tagger.labels.names)}
    config["label2id"] = {name: number for number, name in enumerate(tagger.labels.names)}
    config["biolm"] = extra
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
