"""A fitted annotator: the model it reads, the genes of its training cells, one head for each label.

A saved annotator is a folder: ``annotation.json`` (everything but arrays), ``annotator.safetensors``
(arrays) and, where the model was trained further, that model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import CheckpointError, ConfigError
from biolm.io.damage import naming_damage
from biolm.io.digests import check_digests, check_facts, digests_of, sealed
from biolm.io.json_file import read_json
from biolm.io.provenance import digest, plain
from biolm.jobs.bind import loaded
from biolm.models.model import CellModel
from biolm.tasks.annotate.distance import Distance
from biolm.tasks.annotate.expression import ExpressionSpace
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.linear import LinearMap
from biolm.tasks.annotate.names import refuse_unknown
from biolm.tasks.annotate.neighbours import Neighbours
from biolm.tasks.annotate.tune import TunedModel
from biolm.vocab.genes import GeneVocabulary

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["Annotator", "Head", "default_key", "frozen_of", "load_annotator", "reference_of", "taken_apart"]

FILE = "annotation.json"
_ADVICE = "fit the annotator again"
ARRAYS = "annotator.safetensors"
MODEL = "model"
SCHEMA = "biolm.annotator/1"
_SPACE = ("share", "mean", "loadings")


@dataclass(frozen=True, eq=False)
class Head:
    """What one label column became.

    Parameters
    ----------
    label
        Name of the column.
    classes
        ``c`` names.
    frozen
        The calibrated classifier.
    report
        Held-out scores, baselines and the test of unknown cells, as plain numbers.
    """

    label: str
    classes: tuple[str, ...]
    frozen: Frozen
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Annotator:
    """What ``biolm annotate fit`` makes and ``biolm annotate predict`` uses.

    Parameters
    ----------
    model
        The model of cells.
    reference
        How to find the model again (``name``), and what :meth:`CellModel.describe` says (``facts``).
    embedding
        Choices the vectors were made with: ``pool``, ``hidden_state``.
    space
        Genes of the training cells.
    heads
        One for each label column.
    facts
        Settings and provenance of the fit.
    """

    model: CellModel
    reference: Mapping[str, Any]
    embedding: Mapping[str, Any]
    space: ExpressionSpace
    heads: tuple[Head, ...]
    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        labels = ", ".join(f"{head.label}: {len(head.classes)} classes" for head in self.heads)
        return f"Annotator(model={self.model.name!r}, {labels})"

    @property
    def reads_genes(self) -> bool:
        """Whether any head reads expression."""
        return any(head.frozen.reads_genes for head in self.heads)

    def save(self, folder: Path) -> None:
        """Write into a folder that exists."""
        from safetensors.numpy import save

        arrays = {name: getattr(self.space, name) for name in _SPACE}
        heads = []
        for number, head in enumerate(self.heads):
            facts, held = taken_apart(head.frozen)
            arrays |= {f"{number}.{name}": np.ascontiguousarray(value) for name, value in held.items()}
            named = {"label": head.label, "classes": list(head.classes)}
            heads.append(named | facts | {"report": dict(head.report)})
        (folder / ARRAYS).write_bytes(save(arrays))
        reference = dict(self.reference)
        if isinstance(self.model, TunedModel):
            self.model.save(folder / MODEL)
            reference |= {"trained": True, "digest": _digest(loaded(folder / MODEL))}
        content = {
            "schema": SCHEMA,
            "model": reference,
            "embedding": dict(self.embedding),
            "facts": dict(self.facts),
            "heads": heads,
            "genes": {
                "kind": self.space.vocabulary.kind,
                "species": list(self.space.vocabulary.species),
                "names": list(self.space.vocabulary.genes),
                "noise": self.space.noise,
            },
        }
        content = sealed({**content, "digests": digests_of(folder, [ARRAYS])})
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def load_annotator(folder: str | Path, model: str | Path | CellModel | None = None) -> Annotator:
    """Read a saved annotator, and the model it was made with.

    Parameters
    ----------
    folder
        What ``biolm annotate fit`` wrote.
    model
        The model, where it is no longer where it was.

    Raises
    ------
    CheckpointError
        If the folder holds no annotator, its parts do not fit together, or the model is another one than
        the annotator was made with.
    """
    folder = Path(folder)
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"{folder} holds no annotator (no {FILE}); give a folder that biolm annotate fit wrote"
        )
    content = read_annotator_file(folder, FILE)
    if content.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder / FILE} is of kind {content.get('schema')!r}, not {SCHEMA!r}; fit the annotator again"
        )
    arrays = _arrays(folder / ARRAYS)
    with naming_damage(folder, FILE, CheckpointError, _ADVICE):
        found = _model(folder, content, model)
    try:
        genes = content["genes"]
        vocabulary = GeneVocabulary(tuple(genes["names"]), genes["kind"], tuple(genes["species"]))
        heads = tuple(_head(held, arrays, number) for number, held in enumerate(content["heads"]))
        space = ExpressionSpace(vocabulary, **{name: arrays[name] for name in _SPACE}, noise=genes["noise"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the parts of {folder} do not fit together ({error}); fit it again") from error
    return Annotator(found, content["model"], content["embedding"], space, heads, content["facts"])


def read_annotator_file(folder: Path, file: str) -> dict[str, Any]:
    """What the JSON file of an annotator says, after a look at its digest and at that of the arrays.

    Parameters
    ----------
    folder
        Of the annotator.
    file
        Name of the JSON file.

    Raises
    ------
    CheckpointError
        If one does not hold what was written.
    """
    content = check_facts(read_json(folder / file), folder / file, CheckpointError, _ADVICE)
    check_digests(folder, content.pop("digests", None), CheckpointError, _ADVICE)
    return content


def refuse_nan(arrays: Mapping[str, NDArray[Any]], name: object) -> None:
    """Refuse arrays in which a number is NaN, as every result would be.

    Raises
    ------
    CheckpointError
        If one has any; the message names it.
    """
    for key, values in arrays.items():
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise CheckpointError(f"{name} is damaged: {key} holds NaN; {_ADVICE}")


def default_key(label: str) -> str:
    """Name of a label's result: never the label itself, so that nothing measured is written over.

    Examples
    --------
    >>> default_key("cell_type")
    'biolm_cell_type'
    """
    return f"biolm_{label.replace('/', '_')}"


def reference_of(
    model: CellModel | SequenceModel, given: str | Path | CellModel | SequenceModel
) -> dict[str, Any]:
    """How to find a model again, and how to know it."""
    name = model.name
    if isinstance(given, str | Path):
        name = str(Path(given).resolve()) if Path(given).is_dir() else str(given)
    facts = plain(model.describe())
    return {"name": name, "digest": _digest(model), "facts": facts}


def _digest(model: CellModel | SequenceModel) -> str:
    """What a model says of itself, in one number."""
    return digest(plain(model.describe()))


def _model(folder: Path, content: Mapping[str, Any], given: str | Path | CellModel | None) -> CellModel:
    """The model an annotator was made with, checked.

    Raises
    ------
    CheckpointError
        If it cannot be found, or is another one.
    """
    reference = content["model"]
    name = str(folder / MODEL) if reference.get("trained") else reference["name"]
    if reference.get("trained") and given is not None:
        raise ConfigError(f"the annotator {folder} holds its own trained model; leave `model` out")
    try:
        found = loaded(name if given is None else given)
    except ConfigError as error:
        raise CheckpointError(
            f"the annotator {folder} was made with the model {name}, which cannot be loaded ({error}); "
            "say where it is (`model`)"
        ) from error
    if _digest(found) != reference["digest"]:
        raise CheckpointError(
            f"the annotator {folder} was made with another model than {found.name} of "
            f"{name if given is None else given}; give that model (`model`) or fit the annotator again"
        )
    if reference.get("trained"):
        return TunedModel.read(Path(name), [head["label"] for head in content["heads"]])
    return found


def taken_apart(frozen: Frozen) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Plain facts and arrays of a classifier."""
    facts: dict[str, Any] = {
        "recipe": list(frozen.recipe),
        "temperature": frozen.temperature,
        "threshold": frozen.threshold,
    }
    scorer = frozen.scorer
    held: dict[str, NDArray[Any]]
    spaces: dict[str, NDArray[Any]] = {}
    if frozen.distance is not None:
        facts["distance"], spaces = frozen.distance.taken_apart()
    if isinstance(scorer, Neighbours):
        held = spaces | {"points": scorer.points, "codes": scorer.codes, "centre": scorer.centre}
        return facts | {"kind": "neighbours", "k": scorer.k}, held
    held = spaces | {"vectors": scorer.vectors, "genes": scorer.genes, "bias": scorer.bias}
    return facts | {"kind": "linear"}, held


def frozen_of(held: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], n_classes: int) -> Frozen:
    """A classifier from what :func:`taken_apart` gave."""
    own = dict(arrays)
    distance = Distance.joined(held.get("distance", ()), own)
    scorer: LinearMap | Neighbours
    if held["kind"] == "neighbours":
        scorer = Neighbours(**own, n_classes=n_classes, k=held["k"])
    else:
        scorer = LinearMap(**own)
    return Frozen(scorer, tuple(held["recipe"]), held["temperature"], held["threshold"], distance)


def _head(held: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], number: int) -> Head:
    own = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{number}.")}
    refuse_unknown(held["classes"], f"label column {held['label']!r} of the annotator")
    frozen = frozen_of(held, own, len(held["classes"]))
    return Head(held["label"], tuple(held["classes"]), frozen, held["report"])


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a safetensors file.

    Raises
    ------
    CheckpointError
        If it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = dict(load_file(file))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read {file}: {error}; fit the annotator again") from error
    refuse_nan(arrays, file)
    return arrays
