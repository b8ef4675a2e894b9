"""A tagger: an encoder with one linear layer over its states, in the layout of ``transformers``.

Dimensions: ``t`` pieces of a packed batch · ``d`` width · ``k`` labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from biolm.batch import Batch
from biolm.errors import CheckpointError
from biolm.io.json_file import read_json
from biolm.text.encoder import Encoder
from biolm.text.heads import TAGS, bare_encoder, encoder_kind, load_head, new_linear, save_head
from biolm.text.ner.labels import LabelSet

__all__ = ["Tagger", "load_tagger", "new_tagger", "save_tagger"]


class Tagger(nn.Module):
    """Label scores of every piece.

    Parameters
    ----------
    core
        The encoder.
    labels
        The tags that it chooses from.
    kind
        ``model_type`` of the folder.
    classifier
        A trained head; a new one by default.
    """

    def __init__(
        self,
        core: Encoder,
        labels: LabelSet,
        kind: str,
        *,
        classifier: nn.Linear | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.core, self.labels, self.kind = core, labels, kind
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier or new_linear(core, len(labels.names))

    def forward(self, batch: Batch) -> Tensor:
        """Scores ``(t, k)``."""
        states = self.core(batch, logits=False).last_hidden_state
        return self.classifier(self.dropout(states))  # type: ignore[no-any-return]


def new_tagger(folder: Path, labels: LabelSet, *, dropout: float = 0.1) -> Tagger:
    """An encoder's folder with a new head, to be trained.

    Parameters
    ----------
    folder
        Of the encoder.
    labels
        Tags by number.
    dropout
        Of the head.

    Raises
    ------
    CheckpointError
        If the family is not one that a tagger can be built on.
    """
    return Tagger(bare_encoder(folder, TAGS), labels, encoder_kind(folder), dropout=dropout)


def load_tagger(folder: Path) -> Tagger:
    """A trained tagger, of biolm or of ``transformers``.

    Raises
    ------
    CheckpointError
        If the folder holds no trained head: random labels would look like results.
    """
    core, classifier = load_head(folder, TAGS)
    stored = read_json(folder / "config.json").get("id2label", {})
    names = {int(number): name for number, name in stored.items()}
    if len(names) != classifier.out_features:
        raise CheckpointError(
            f"{folder} names {len(names)} labels but its head has {classifier.out_features}"
        )
    labels = LabelSet.named([names[number] for number in sorted(names)])
    return Tagger(core, labels, encoder_kind(folder), classifier=classifier).eval()


def save_tagger(tagger: Tagger, folder: Path, facts: dict[str, Any]) -> None:
    """Write a folder that ``transformers`` loads as ``AutoModelForTokenClassification``.

    Parameters
    ----------
    tagger
        The model.
    folder
        Where to write.
    facts
        Plain values for ``config.json``: what it was trained on.
    """
    names = tagger.labels.names
    extra = {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "biolm": facts,
    }
    save_head(tagger.core, tagger.classifier, TAGS, folder, tagger.kind, extra)
