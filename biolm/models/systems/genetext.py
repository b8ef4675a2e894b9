"""The built-in model of cells: a cell is the weighted mean of text vectors of its genes.

Dimensions: ``n`` cells · ``m`` genes, human then mouse · ``h`` human genes · ``d`` width.

The vectors come from what is written about a gene (its full name and the biological processes that the
Gene Ontology lists), read by a small language model; ``data/genetext/README.md`` says how. The idea is that
of GenePT (Chen and Zou, 2023). A mouse gene has the weighted mean vector of its human orthologs, so cells of
both species lie in one space. ``docs/explanation/default-model.md`` says what the vectors are worth.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.centre import centring_of
from biolm.adapters.cells.weighted_mean import weighted_mean
from biolm.errors import CheckpointError
from biolm.io.cells.block import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.resources import shipped
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["GeneText", "centre", "load", "random_like", "read_table", "recognises"]

FILE = "genetext.safetensors"
TENSORS = {"human", "vectors", "factors", "mouse", "mouse_offsets", "mouse_rows", "mouse_weights"}


@dataclass(frozen=True, eq=False, repr=False)
class GeneText(CellModel):
    """Gene-text vectors and what is needed to average them.

    Parameters
    ----------
    vocabulary
        ``m`` Ensembl ids.
    vectors
        ``(m, d)`` float32.
    factors
        ``(m,)`` float32, what a gene's weight is multiplied with.
    human
        ``(m,)`` int32, the row of the human gene that a gene is or mostly stands for.
    sha256
        Of the file the table was read from.
    about
        What the file says about itself.

    Examples
    --------
    >>> model = load()
    >>> model.name, model.vocabulary.species
    ('genetext', ('human', 'mouse'))
    """

    vocabulary: GeneVocabulary
    vectors: NDArray[np.float32]
    factors: NDArray[np.float32]
    human: NDArray[np.int32]
    sha256: str
    about: dict[str, str]
    name: str = "genetext"
    wants_counts: bool = True
    pools: tuple[str, ...] = ("weighted-mean",)

    @property
    def width(self) -> int:  # type: ignore[override]  # the table says it
        """Axes of a vector."""
        return int(self.vectors.shape[1])

    def embed(
        self,
        block: CellBlock,
        match: GeneMatch,
        options: EmbedOptions,  # noqa: ARG002  # nothing to choose: one way to pool, nothing random
    ) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block of counts; a cell without known genes gets zeros.

        A vector depends on that cell alone; :func:`centre` is a step of its own.
        """
        return weighted_mean(block, match, self.vectors, self.factors)

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        return {
            "kind": "gene-text vectors",
            "checkpoint_sha256": self.sha256,
            "genes": len(self.vocabulary),
            "width": self.width,
            "parameters": int(self.vectors.size),
            **self.about,
        }


def recognises(folder: Path) -> bool:
    """Whether a folder holds a table of gene-text vectors."""
    return (folder / FILE).is_file()


def load(path: Path | None = None) -> GeneText:
    """Read a table of gene vectors.

    Parameters
    ----------
    path
        A folder that holds ``genetext.safetensors``; the table that ships with biolm by default.

    Raises
    ------
    CheckpointError
        If the file is damaged, or a tensor is missing, left over or mis-shaped.
    """
    file = (shipped("genetext") if path is None else path) / FILE
    tensors, about, sha256 = read_table(file, "gene vectors")
    if tensors.keys() != TENSORS:
        wanted, present = ", ".join(sorted(TENSORS)), ", ".join(sorted(tensors))
        raise CheckpointError(f"{file} should hold the tensors {wanted}, but holds {present}")
    human, vectors, factors = tensors["human"], tensors["vectors"], tensors["factors"]
    mouse, offsets, rows = tensors["mouse"], tensors["mouse_offsets"], tensors["mouse_rows"]
    weights = tensors["mouse_weights"]
    if vectors.ndim != 2 or not len(vectors) == len(human) == len(factors) or len(offsets) != len(mouse) + 1:
        raise CheckpointError(f"the tensors of {file} do not fit together; make or fetch the table again")
    # Stored in half precision; sums over a cell need more.
    vectors, factors = vectors.astype(np.float32), factors.astype(np.float32)
    names = [f"ENSG{number:011d}" for number in human.tolist()]
    names += [f"ENSMUSG{number:011d}" for number in mouse.tolist()]
    return GeneText(
        vocabulary=GeneVocabulary.of(names, kind="ensembl", species=("human", "mouse")),
        vectors=np.concatenate([vectors, _group_means(vectors, rows, offsets, weights)]),
        factors=np.concatenate([factors, _group_means(factors[:, None], rows, offsets, weights)[:, 0]]),
        human=np.concatenate([np.arange(len(human), dtype=np.int32), _heaviest(rows, offsets, weights)]),
        sha256=sha256,
        about=about,
    )


def random_like(model: GeneText, seed: int = 0, *, width: int | None = None) -> GeneText:
    """The control: the same genes, factors and formula, with Gaussian vectors instead of text.

    What a score loses by this is what the text is worth. The two species keep sharing a space: genes with
    one and the same vector get one and the same random vector.

    Parameters
    ----------
    width
        Of the random vectors; the model's by default. Wider ones keep more of the counts, so they are the
        harder control: nothing of the data went into their axes.

    Examples
    --------
    >>> random_like(load(), seed=1).name
    'random'
    """
    # A mouse gene has the vector of its human one: drawn apart, the control would lose that too.
    _, first, group = np.unique(model.vectors, axis=0, return_index=True, return_inverse=True)
    shape = (len(first), model.width if width is None else width)
    drawn = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    about = {"control": "Gaussian gene vectors", "control_seed": str(seed)}
    return replace(model, name="random", vectors=drawn[group.ravel()], about=about)


def centre(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the mean of a data set's cell vectors to zero.

    It takes away what all cells of a data set share, above all its gene panel, so it helps to compare data
    sets; but then a cell's vector depends on the cells beside it. Rows of zeros (cells without counts) stay
    zeros and are left out of the mean. The scale of an axis is part of the model, so it stays.

    Parameters
    ----------
    vectors
        ``(n, d)``.

    Examples
    --------
    >>> centre(np.array([[1.0, 5.0], [0.0, 0.0], [3.0, 5.0]], np.float32)).tolist()
    [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    return centring_of(vectors)(vectors)


def read_table(file: Path, what: str) -> tuple[dict[str, NDArray[Any]], dict[str, str], str]:
    """Tensors, metadata and sha256 of a safetensors file; ``what`` it holds is named where it is damaged.

    Parameters
    ----------
    file
        Of the table.
    what
        Names it in messages.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as file_open:
            tensors = {name: file_open.get_tensor(name) for name in file_open.keys()}  # noqa: SIM118  # no iterator
            about = json.loads((file_open.metadata() or {}).get("about", "{}"))
            return tensors, about, hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the {what} in {file}: {error}") from error


def _group_means(
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    offsets: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Weighted means of ``values[rows]`` between offsets; every group holds a row."""
    if not len(rows):
        return np.zeros((0, values.shape[1]), np.float32)
    mass = weights.astype(np.float64)
    sums = np.add.reduceat(values[rows] * mass[:, None], offsets[:-1], axis=0)
    return (sums / np.add.reduceat(mass, offsets[:-1])[:, None]).astype(np.float32)


def _heaviest(
    rows: NDArray[np.int32], offsets: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.int32]:
    """The row of most weight between offsets; of equal ones the first."""
    group = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((rows, -weights, group))
    return rows[order][offsets[:-1]].astype(np.int32)
