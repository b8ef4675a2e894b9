"""A fitted annotator of sequences, and the folder that holds it.

``annotation.json`` (everything but arrays), ``annotator.safetensors`` (arrays) and, where the model was
trained further, that model.

Dimensions: ``s`` samples (sequences or letters) · ``c`` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError
from biolm.io.digests import digests_of, sealed
from biolm.io.json_file import read_json
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.annotate.annotator import (
    frozen_of,
    read_annotator_file,
    reference_of,
    refuse_nan,
    taken_apart,
)
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.names import refuse_unknown
from biolm.tasks.annotate.sequences import table_of_letters, vectors_of
from biolm.tasks.annotate.tune_sequences import said_of

if TYPE_CHECKING:
    from biolm.training.fine_tune import FineTuned

__all__ = [
    "SCHEMA",
    "SequenceAnnotator",
    "is_sequence_annotator",
    "load_sequence_annotator",
    "sequence_model",
]

SCHEMA = "biolm.sequence_annotator/1"
FILE, ARRAYS, MODEL = "annotation.json", "annotator.safetensors", "model"


@dataclass(frozen=True, eq=False, repr=False)
class SequenceAnnotator:
    """What ``biolm annotate fit`` makes of sequences and ``biolm annotate predict`` uses.

    Parameters
    ----------
    model
        Reads the sequences; with its heads where it was trained.
    reference
        How to find the model again.
    label
        Column that was learned.
    classes
        ``c`` names; empty for numbers.
    frozen
        From vectors and k-mers, or from the heads' logits, to calibrated logits; of numbers to numbers.
    per_residue
        Whether each letter is labelled.
    trained
        Whether the model has heads of its own.
    pool, report, facts
        How vectors are made, held-out scores beside baselines, settings of the fit.
    tuned
        What wrote the trained model; None once it was read from a folder.
    """

    model: SequenceModel
    reference: Mapping[str, Any]
    label: str
    classes: tuple[str, ...]
    frozen: Frozen
    per_residue: bool
    trained: bool
    pool: str | None
    report: Mapping[str, Any]
    facts: Mapping[str, Any]
    tuned: FineTuned | None = None

    def __repr__(self) -> str:
        many = f"{len(self.classes)} classes" if self.classes else "numbers"
        return f"SequenceAnnotator(model={self.model.name!r}, {self.label}: {many})"

    def scores(self, block: SequenceBlock, settings: Any) -> NDArray[np.float64]:
        """Probabilities ``(s, c)``, or numbers ``(s, 1)``, of sequences or their letters.

        Parameters
        ----------
        block
            Sequences of the kind that the model reads.
        settings
            ``batch_tokens`` and ``device``.
        """
        if self.trained:
            predict = self.model.predict if self.tuned is None else self.tuned.predict

            def said(tokens: Any) -> Any:
                return predict(tokens, batch_tokens=settings.batch_tokens, device=settings.device)

            found = said_of(said, block, self.model, self.label, per_residue=self.per_residue)
            if not self.classes:
                return found
            return self.frozen.probabilities(found.astype(np.float32), None)
        scorer = self.frozen.scorer
        rows = len(block.letters) if self.per_residue else len(block)
        vectors = np.zeros((rows, self.model.width), np.float32)
        if scorer.reads_vectors:
            vectors = vectors_of(
                self.model, block, per_residue=self.per_residue, pool=self.pool, settings=settings
            )
        table = table_of_letters(block, self.model, per_residue=self.per_residue)
        if not self.classes:
            return scorer.logits(vectors, table)
        return self.frozen.probabilities(vectors, table)

    def save(self, folder: Path) -> None:
        """Write into a folder that exists."""
        from safetensors.numpy import save

        facts, held = taken_apart(self.frozen)
        arrays = {name: np.ascontiguousarray(value) for name, value in held.items()}
        (folder / ARRAYS).write_bytes(save(arrays))
        reference = dict(self.reference)
        if self.tuned is not None:
            self.tuned.save(folder / MODEL)
            reference["digest"] = reference_of(sequence_model(folder / MODEL), folder / MODEL)["digest"]
        content = {
            "schema": SCHEMA,
            "model": reference,
            "label": self.label,
            "classes": list(self.classes),
            "head": facts,
            "per_residue": self.per_residue,
            "trained": self.trained,
            "pool": self.pool,
            "report": dict(self.report),
            "facts": dict(self.facts),
        }
        content = sealed({**content, "digests": digests_of(folder, [ARRAYS])})
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def is_sequence_annotator(folder: str | Path) -> bool:
    """Whether a folder holds an annotator of sequences."""
    place = Path(folder) / FILE
    return place.is_file() and read_json(place).get("schema") == SCHEMA


def sequence_model(model: str | Path | SequenceModel) -> SequenceModel:
    """The model, if it reads sequences.

    Raises
    ------
    ConfigError
        If it does not.
    """
    from biolm.models.registry import load

    found = load(model) if isinstance(model, str | Path) else model
    if not isinstance(found, SequenceModel):
        raise ConfigError(
            f"model {model} reads no sequences; give the folder of a model that does, such as ESM-2 or one "
            "of biolm pretrain"
        )
    return found


def load_sequence_annotator(
    folder: str | Path, model: str | Path | SequenceModel | None = None
) -> SequenceAnnotator:
    """Read a saved annotator of sequences, and its model.

    Parameters
    ----------
    folder
        What ``biolm annotate fit`` wrote.
    model
        The model, where it is no longer where it was.

    Raises
    ------
    CheckpointError
        If the folder holds none, is damaged, or the model is another one.
    InputError
        If one of its classes is called ``unknown``.
    """
    from biolm.core.checkpoint import read_weights

    place = Path(folder)
    if not is_sequence_annotator(place):
        raise CheckpointError(
            f"{folder} holds no annotator of sequences; give a folder that annotate fit wrote"
        )
    content = read_annotator_file(place, FILE)
    refuse_unknown(content.get("classes", ()), f"label {content.get('label')!r} of the annotator {folder}")
    if content.get("trained") and model is not None:
        raise ConfigError(f"the annotator {folder} holds its own trained model; leave `model` out")
    where = model or (place / MODEL if content["trained"] else content["model"]["name"])
    try:
        found = sequence_model(where)
    except ConfigError as error:
        raise CheckpointError(
            f"the annotator {folder} was made with the model {where}, which cannot be loaded ({error}); say "
            "where it is (`model`)"
        ) from error
    if reference_of(found, str(where))["digest"] != content["model"]["digest"]:
        raise CheckpointError(
            f"the annotator {folder} was made with another model than {where}; give that model (`model`) or "
            "fit the annotator again"
        )
    try:
        arrays = {name: tensor.numpy() for name, tensor in read_weights([place / ARRAYS]).items()}
        refuse_nan(arrays, place / ARRAYS)
        frozen = frozen_of(content["head"], arrays, len(content["classes"]))
        return SequenceAnnotator(
            found,
            content["model"],
            content["label"],
            tuple(content["classes"]),
            frozen,
            content["per_residue"],
            content["trained"],
            content["pool"],
            content["report"],
            content["facts"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the parts of {folder} do not fit together ({error}); fit it again") from error
