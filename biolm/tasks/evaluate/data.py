"""What an evaluation reads: embeddings, labels and counts of the same cells, checked before any work.

Dimensions: ``n`` cells that are scored · ``g`` genes · ``d`` width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import BiolmError, ConfigError, InputError
from biolm.io.anndata.read import read_anndata
from biolm.io.cell_tables import open_table
from biolm.io.cells import label_text
from biolm.io.cells.memory import series_values
from biolm.jobs.bind import loaded
from biolm.models.model import CellModel
from biolm.progress import log
from biolm.scoring.splits import copies_of, fraction, labelled
from biolm.tasks.evaluate.settings import EvaluateSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["EvaluationData", "embedded", "read"]


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """The cells that are scored.

    Parameters
    ----------
    name
        Of the file, for titles.
    table
        AnnData of the ``n`` cells; its ``X`` holds the counts that were chosen.
    labels
        ``(n,)`` cell types.
    batch, groups
        ``(n,)`` names, or None.
    vectors
        ``(n, d)`` float32 of every embedding under test.
    copies
        ``(n,)`` which cells have the same counts.
    total
        Labelled cells of the file, of which ``n`` are scored.
    networks
        The model of every embedding that can be made anew.
    """

    name: str
    table: AnnData
    labels: NDArray[np.str_]
    batch: NDArray[np.str_] | None
    groups: NDArray[np.str_] | None
    vectors: dict[str, NDArray[np.float32]]
    copies: NDArray[np.int64]
    total: int
    networks: Mapping[str, CellModel] = field(default_factory=dict)

    @property
    def counts(self) -> Any:
        """``(n, g)`` sparse counts."""
        return self.table.X


def read(
    data: str | Path | AnnData,
    embeddings: Sequence[str],
    settings: EvaluateSettings,
    models: Sequence[str | Path | CellModel] = (),
) -> EvaluationData:
    """Read and check the cells of an evaluation; of a large file only those that are scored.

    Vectors of ``models`` that ``obsm`` does not hold are made for the scored cells.

    Parameters
    ----------
    data
        A file or an AnnData.
    embeddings
        Keys of ``obsm``.
    settings
        Choices of the job.
    models
        Models whose vectors are made for the scored cells where ``obsm`` lacks them.

    Raises
    ------
    InputError
        If a column or an embedding is missing or unfit, or the matrix holds no counts.
    ConfigError
        If neither an embedding nor a model is named, or one twice.
    """
    if len(set(embeddings)) < len(embeddings) or not (embeddings or models):
        raise ConfigError("name an embedding of obsm (-e X_pca), each once, or a model (-m cellfactors)")
    table = _open(data, embeddings)
    names = _column(table, settings.label, "label")
    networks = {f"X_{network.name}": network for network in map(loaded, models)}
    embeddings = [*embeddings, *(key for key in networks if key in table.obsm and key not in embeddings)]
    vectors = {key: _vectors(table, key) for key in embeddings}
    rows, total = _chosen(names, settings)
    batch = _names(table, settings.batch, "batch", rows)
    groups = _names(table, settings.groups, "group", rows)
    for key, values in vectors.items():
        _check_finite(key, values, rows)
    part = _part(data, table, rows, settings)
    vectors = {key: values[rows] for key, values in vectors.items()}
    for key, network in networks.items():
        if key not in vectors:
            log.info("embedding %s cells with %s", f"{len(rows):,}", network.name)
            vectors[key] = embedded(part, network, settings)
    return EvaluationData(
        name=Path(data).name if isinstance(data, str | Path) else "cells",
        table=part,
        labels=names[rows],
        batch=batch,
        groups=groups,
        vectors=vectors,
        # Cells with the same counts stay on one side of every split, or a method could look them up.
        copies=copies_of(part.X),
        total=total,
        networks=networks | (_recorded(part, set(vectors) - set(networks)) if settings.robustness else {}),
    )


def embedded(cells: AnnData, network: CellModel, settings: EvaluateSettings) -> NDArray[np.float32]:
    """Vectors ``(n, d)`` of cells whose ``X`` holds counts, kept in their ``obsm``.

    Parameters
    ----------
    cells
        With counts.
    network
        The model.
    settings
        Choices of the job.
    """
    from biolm.tasks.embed import embed

    key = f"X_{network.name}"
    embed(
        cells,
        model=network,
        key=key,
        seed=settings.seed,
        gene_column=settings.gene_column,
        species=settings.species,
        minimum_match=settings.minimum_match,
        match=settings.match,
        allow_normalised=settings.allow_normalised,
        progress=settings.progress,
    )
    return np.asarray(cells.obsm[key])


def _recorded(table: AnnData, keys: set[str]) -> dict[str, CellModel]:
    """Models that embeddings of the file name as their makers, as far as they lie on this machine."""
    from biolm.models.registry import load

    models: dict[str, CellModel] = {}
    for key in sorted(keys):
        name = dict(table.uns["biolm"].get(key, {})).get("model")
        if name is None:
            continue
        try:
            network = load(str(name), local_files_only=True)
        except BiolmError as error:
            log.info("%s cannot be embedded again: %s", key, error)
            continue
        if isinstance(network, CellModel):
            models[key] = network
    return models


def _open(data: str | Path | AnnData, embeddings: Sequence[str]) -> Any:
    """The table with embeddings and columns; of data that hold no embeddings, the columns alone."""
    import anndata
    import pandas as pd

    if not isinstance(data, str | Path):
        return data
    with open_table(data) as source:
        if source.kind not in ("h5ad", "zarr"):
            if embeddings:
                raise InputError(
                    f"{data} ({source.kind}) holds no embeddings; embed it into an .h5ad or .zarr first, or "
                    "name a model (-m cellfactors)"
                )
            cells = {name: source.obs_column(name) for name in source.obs_columns()}
            return anndata.AnnData(obs=pd.DataFrame(cells, index=source.cell_names()))
        kind = source.kind
    # Backed, so that counts of a large atlas stay on disk until the cells are chosen.
    return read_anndata(data, backed=kind == "h5ad")


def _column(table: Any, name: str, role: str) -> NDArray[np.str_]:
    if name not in table.obs:
        names = ", ".join(map(str, table.obs.columns)) or "none"
        raise InputError(f"there is no {role} column '{name}'; obs holds: {names}")
    return label_text(series_values(table.obs[name]))


def _names(table: Any, name: str | None, role: str, rows: NDArray[np.int64]) -> NDArray[np.str_] | None:
    if name is None:
        return None
    values = _column(table, name, role)[rows]
    # A group without a name would be one large group and hold cells of all others.
    if (values == "").any():
        raise InputError(
            f"{(values == '').sum()} labelled cells have no {role} in '{name}'; fill it in or drop them"
        )
    if len(np.unique(values)) < 2:
        raise InputError(
            f"all labelled cells are of {role} '{values[0]}'; leave out the {role}, or name another column"
        )
    return values


def _vectors(table: Any, key: str) -> NDArray[np.float32]:
    if key not in table.obsm:
        names = ", ".join(table.obsm) or "nothing"
        raise InputError(f"there is no embedding '{key}'; obsm holds {names}; run biolm embed first")
    vectors = table.obsm[key]
    vectors = np.asarray(vectors.toarray() if hasattr(vectors, "toarray") else vectors, dtype=np.float32)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise InputError(f"embedding '{key}' has shape {vectors.shape}; give one vector a cell")
    return vectors


def _check_finite(key: str, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
    broken = ~np.isfinite(vectors[rows]).all(1)
    if broken.any():
        raise InputError(
            f"embedding '{key}' holds values that are not finite in {int(broken.sum())} cells, first in row "
            f"{int(rows[broken.argmax()])}; drop those cells or embed them again"
        )


def _chosen(names: NDArray[np.str_], settings: EvaluateSettings) -> tuple[NDArray[np.int64], int]:
    """Rows that are scored, and how many could be."""
    rows = labelled(names, settings.leave_out)
    types, sizes = np.unique(names[rows], return_counts=True)
    small = types[sizes < settings.rare]
    if len(small):
        log.warning("left out as rare: %s", ", ".join(small))
        # Rare types first, then the draw: a type must not become rare by being drawn seldom.
        rows = rows[~np.isin(names[rows], small)]
        types, sizes = np.unique(names[rows], return_counts=True)
    if len(types) < 2:
        types_named = f"only '{types[0]}'" if len(types) else "no cell type"
        raise InputError(f"label '{settings.label}' holds {types_named}; a score needs at least two types")
    # Stratified folds need a cell of each type on both sides.
    if sizes.min() < 2:
        single = ", ".join(types[sizes < 2])
        raise InputError(
            f"label '{settings.label}' has types of one cell ({single}), which cannot be learnt and tested; "
            "leave them out (`leave_out` NAME or `rare=2`)"
        )
    total = len(rows)
    if 0 < settings.cells < total:
        rows = fraction(names, settings.cells / total, rows=rows, seed=settings.seed)
        log.info("%s of %s labelled cells are scored, drawn at random", f"{len(rows):,}", f"{total:,}")
    return rows, total


def _part(
    data: str | Path | AnnData, table: Any, rows: NDArray[np.int64], settings: EvaluateSettings
) -> AnnData:
    """The chosen cells in memory, the genes of the chosen matrix as sparse ``X``.

    Raises
    ------
    InputError
        If the matrix holds no counts, in these cells or where a look at the file finds others.
    """
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    from biolm.adapters.cells.counts import check_counts

    with open_table(data, matrix=settings.matrix) as source:
        check_counts(
            source,
            allow_normalised=settings.allow_normalised,
            reopen=lambda name: open_table(data, matrix=name),
        )
        for note in source.notes:
            log.warning("%s", note)
        block = source.take(rows)
        columns = source.gene_columns()
    counts = csr_matrix((block.data, block.indices, block.indptr), (len(rows), block.n_genes))
    # Sums over a row must not depend on the order in which the file stores it.
    counts.sort_indices()
    record = {"biolm": dict(table.uns.get("biolm", {}))}
    names = columns.pop("index")
    genes = pd.DataFrame(columns, index=names)
    return anndata.AnnData(counts, obs=table.obs.iloc[rows].copy(), var=genes, uns=record)
