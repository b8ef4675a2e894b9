"""A fitted annotator: the model it was made with, one head for each label, of cells the genes that they had.

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
from biolm.jobs.modality import loaded_for
from biolm.tasks.annotate.expression import ExpressionSpace
from biolm.tasks.annotate.frozen import Frozen
from biolm.tasks.annotate.names import refuse_unknown
from biolm.tasks.annotate.packing import frozen_of, taken_apart
from biolm.vocab.genes import GeneVocabulary

if TYPE_CHECKING:
    from biolm.training.linear_start import Tuned

__all__ = ["Annotator", "Head", "default_key", "load_annotator", "reference_of"]

FILE = "annotation.json"
_ADVICE = "fit the annotator again"
ARRAYS = "annotator.safetensors"
MODEL = "model"
SCHEMA = "biolm.annotator/1"
ONE_LABEL = "biolm.sequence_annotator/1"
"""Of annotators that have one label and no genes."""
_SINGLE = "sequences"
_SPACE = ("share", "mean", "loadings")


@dataclass(frozen=True, eq=False)
class Head:
    """What one label column became.

    Parameters
    ----------
    label
        Name of the column.
    classes
        ``c`` names; empty for numbers.
    frozen
        From vectors and what is read beside them (expression, k-mers) to calibrated logits; of numbers to
        numbers.
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
        The model that reads the rows.
    reference
        How to find the model again (``name``), and what its ``describe`` says (``facts``).
    embedding
        Choices the vectors were made with: ``pool``, ``hidden_state``; of sequences also ``per_residue``.
    space
        Genes of the training cells; None for other rows.
    heads
        One for each label column.
    provenance
        Settings and provenance of the fit.
    modality
        The kind of data that it names.
    trained
        Whether it has a model of its own.
    tuned
        What writes that model; None once it was read from a folder.
    factors
        ``name`` and ``digest`` of the model of factor space; None where rows have no place there.
    """

    model: Any
    reference: Mapping[str, Any]
    embedding: Mapping[str, Any]
    space: ExpressionSpace | None
    heads: tuple[Head, ...]
    provenance: Mapping[str, Any]
    modality: str = "cells"
    trained: bool = False
    tuned: Tuned | None = None
    factors: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        sizes = (f"{len(head.classes)} classes" if head.classes else "numbers" for head in self.heads)
        labels = ", ".join(f"{head.label}: {size}" for head, size in zip(self.heads, sizes, strict=True))
        return f"Annotator(model={self.model.name!r}, {labels})"

    @property
    def reports(self) -> dict[str, dict[str, Any]]:
        """By label: held-out scores beside those of the baselines."""
        return {head.label: dict(head.report) for head in self.heads}

    @property
    def reads_genes(self) -> bool:
        """Whether any head reads expression."""
        return any(head.frozen.reads_genes for head in self.heads)

    @property
    def reads_factors(self) -> bool:
        """Whether any head looks for novel rows in factor space."""
        return any(head.frozen.reads_factors for head in self.heads)

    def save(self, folder: Path) -> None:
        """Write into a folder that exists."""
        from safetensors.numpy import save

        # A copy: saving must not change the annotator in memory, whose digest is of the model before.
        reference = dict(self.reference)
        if self.tuned is not None:
            self.tuned.save(folder / MODEL)
            # The digest of what is read back, lest a tuned model that saves differently be refused at its
            # first use.
            reference["digest"] = _digest(loaded_for(self.modality, folder / MODEL))
        pack = _pack_one if "per_residue" in self.embedding else _pack_many
        content, arrays = pack(self, reference)
        (folder / ARRAYS).write_bytes(
            save({name: np.ascontiguousarray(each) for name, each in arrays.items()})
        )
        # The arrays are sealed through the JSON file, so that files of two annotators cannot be mixed.
        content = sealed({**content, "digests": digests_of(folder, [ARRAYS])})
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def _pack_many(annotator: Annotator, reference: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain content and arrays of an annotator of any number of labels."""
    space, heads = annotator.space, []
    arrays = {} if space is None else {name: getattr(space, name) for name in _SPACE}
    for number, head in enumerate(annotator.heads):
        facts, own = taken_apart(head.frozen)
        arrays |= {f"{number}.{name}": value for name, value in own.items()}
        named = {"label": head.label, "classes": list(head.classes)}
        heads.append(named | facts | {"report": dict(head.report)})
    content = {
        "schema": SCHEMA,
        "model": reference | ({"trained": True} if annotator.trained else {}),
        "embedding": dict(annotator.embedding),
        "facts": dict(annotator.provenance),
        "heads": heads,
    }
    if annotator.factors is not None:
        content["factors"] = dict(annotator.factors)
    if space is None:
        return content | {"modality": annotator.modality}, arrays
    genes = {
        "kind": space.vocabulary.kind,
        "species": list(space.vocabulary.species),
        "names": list(space.vocabulary.genes),
        "noise": space.noise,
    }
    return content | {"genes": genes}, arrays


def _pack_one(annotator: Annotator, reference: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain content and arrays of an annotator of one label."""
    (head,) = annotator.heads
    facts, arrays = taken_apart(head.frozen)
    content = {
        "schema": ONE_LABEL,
        "model": reference,
        "label": head.label,
        "classes": list(head.classes),
        "head": facts,
        "per_residue": annotator.embedding["per_residue"],
        "trained": annotator.trained,
        "pool": annotator.embedding["pool"],
        "report": dict(head.report),
        "facts": dict(annotator.provenance),
    }
    return content, arrays


def load_annotator(folder: str | Path, model: Any = None) -> Annotator:
    """Read a saved annotator, and the model it was made with.

    Parameters
    ----------
    folder
        What ``biolm annotate fit`` wrote.
    model
        The model (name, folder or loaded), where it is no longer where it was.

    Raises
    ------
    CheckpointError
        If the folder holds no annotator, its parts do not fit together, or the model is another one than
        the annotator was made with.
    InputError
        If one of its classes is called ``unknown``.
    """
    folder = Path(folder)
    content = _read(folder)
    arrays, one = _arrays(folder / ARRAYS), content["schema"] == ONE_LABEL
    with naming_damage(folder, FILE, CheckpointError, _ADVICE):
        base = _model(folder, content, model)
    try:
        heads = tuple(
            _head(entry, arrays, "" if one else f"{number}.") for number, entry in enumerate(content["heads"])
        )
        return Annotator(
            model=base,
            reference=content["model"],
            embedding=content["embedding"],
            space=_space(content["genes"], arrays) if "genes" in content else None,
            heads=heads,
            provenance=content["facts"],
            modality=content["modality"],
            trained=content["trained"],
            factors=content.get("factors"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the parts of {folder} do not fit together ({error}); fit it again") from error


def _space(genes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ExpressionSpace:
    vocabulary = GeneVocabulary(tuple(genes["names"]), genes["kind"], tuple(genes["species"]))
    return ExpressionSpace(vocabulary, **{name: arrays[name] for name in _SPACE}, noise=genes["noise"])


def _read(folder: Path) -> dict[str, Any]:
    """What the JSON file of an annotator says, after a look at its digest and at that of the arrays.

    Raises
    ------
    CheckpointError
        If one does not hold what was written.
    """
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"{folder} holds no annotator (no {FILE}); give a folder that biolm annotate fit wrote"
        )
    content = check_facts(read_json(folder / FILE), folder / FILE, CheckpointError, _ADVICE)
    check_digests(folder, content.pop("digests", None), CheckpointError, _ADVICE)
    schema = content.get("schema")
    if schema not in (SCHEMA, ONE_LABEL):
        raise CheckpointError(
            f"{folder / FILE} is of kind {schema!r}, not {SCHEMA!r}; fit the annotator again"
        )
    with naming_damage(folder, FILE, CheckpointError, _ADVICE):
        if schema == SCHEMA:
            return {"modality": "cells", "trained": content["model"].get("trained", False), **content}
        head = {name: content[name] for name in ("label", "classes", "report")}
        return {
            **content,
            "modality": _SINGLE,
            "embedding": {name: content[name] for name in ("pool", "per_residue")},
            "heads": [content["head"] | head],
        }


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


def reference_of(model: Any, given: Any) -> dict[str, Any]:
    """How to find a model again, and how to know it.

    Parameters
    ----------
    model
        The loaded model.
    given
        What the user named it by.
    """
    name = model.name
    if isinstance(given, str | Path):
        # Absolute, since the annotator may be used from another working directory.
        name = str(Path(given).resolve()) if Path(given).is_dir() else str(given)
    facts = plain(model.describe())
    return {"name": name, "digest": _digest(model), "facts": facts}


def _digest(model: Any) -> str:
    """What a model says of itself, in one number."""
    return digest(plain(model.describe()))


def _model(folder: Path, content: Mapping[str, Any], given: Any) -> Any:
    """The model an annotator was made with, checked.

    Raises
    ------
    CheckpointError
        If it cannot be found, or is another one.
    """
    reference, trained = content["model"], content["trained"]
    name = str(folder / MODEL) if trained else reference["name"]
    if trained and given is not None:
        raise ConfigError(f"the annotator {folder} holds its own trained model; leave `model` out")
    try:
        loaded = loaded_for(content["modality"], name if given is None else given)
    except ConfigError as error:
        raise CheckpointError(
            f"the annotator {folder} was made with the model {name}, which cannot be loaded ({error}); "
            "say where it is (`model`)"
        ) from error
    # Such heads would change what the folder embeds as, and the digest below would not say why.
    if trained and loaded.heads is not None:
        raise CheckpointError(
            f"the annotator {folder} was trained by an earlier biolm, whose heads stood inside the model; "
            "fit the annotator again"
        )
    if _digest(loaded) != reference["digest"]:
        raise CheckpointError(
            f"the annotator {folder} was made with another model than {loaded.name} of "
            f"{name if given is None else given}; give that model (`model`) or fit the annotator again"
        )
    return loaded


def _head(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], prefix: str) -> Head:
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    # A file written elsewhere may hold such a class, whose cells would be read as unknown.
    refuse_unknown(entry["classes"], f"label {entry['label']!r} of the annotator")
    frozen = frozen_of(entry, own, len(entry["classes"]))
    return Head(entry["label"], tuple(entry["classes"]), frozen, entry["report"])


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
