"""Tables of cells in every format."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import scipy.io
import scipy.sparse as sp
from cases import Case

import biolm
from biolm.io.cells import open_cells

__all__ = ["CASES", "table_of"]

CELLS, GENES = 40, 24


def table_of(seed: int = 0) -> anndata.AnnData:
    """``(40, 24)`` counts with columns of every kind."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    made = anndata.AnnData(sp.csr_matrix(rng.poisson(1.0, (CELLS, GENES)).astype(np.float32)))
    made.obs_names = [f"cell{number}" for number in range(CELLS)]
    made.var_names = [f"ENSG{number:011d}" for number in range(GENES)]
    made.var["symbol"] = [f"G{number}" for number in range(GENES)]
    made.obs["type"] = pd.Categorical(rng.choice(["T", "B", "NK"], CELLS))
    made.obs["depth"] = rng.random(CELLS)
    made.obs["visits"] = pd.array([None if n % 7 == 0 else n for n in range(CELLS)], dtype="Int32")
    made.layers["dense"] = np.asarray(made.X.todense())
    made.layers["csc"] = sp.csc_matrix(made.X)
    made.obsm["X_pca"] = rng.random((CELLS, 3))
    made.uns["log"] = {"note": "made", "values": [1, 2]}
    return made


def read(path: Path, matrix: str = "X") -> Any:
    """Everything that a job reads of a table."""
    with open_cells(path, matrix=matrix) as cells:
        found: list[Any] = [cells.matrices(), cells.obs_columns(), cells.cell_names(), cells.gene_columns()]
        found += [cells.obs_column(name) for name in cells.obs_columns()]
        for block in cells.blocks(16):
            found += [np.asarray(block.data, np.float64), block.indices, block.indptr]
    return found


def h5ad(path: Path, **options: Any) -> None:
    table_of().write_h5ad(path, **options)


def zarr(path: Path, *, version: int = 2) -> None:
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        table_of().write_zarr(path)


def zarr_zip(path: Path) -> None:
    folder = path.with_name("unpacked.zarr")
    zarr(folder)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))


def tenx(path: Path) -> None:
    counts = sp.csr_matrix(table_of().X)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = (
            counts.data.astype(int),
            counts.indices,
            counts.indptr,
        )
        group["shape"] = [GENES, CELLS]
        group["barcodes"] = [f"AAAC{number}-1".encode() for number in range(CELLS)]
        features = group.create_group("features")
        features["id"] = [f"ENSG{number:011d}".encode() for number in range(GENES)]
        features["name"] = [f"G{number}".encode() for number in range(GENES)]
        features["feature_type"] = [b"Gene Expression"] * (GENES - 2) + [b"Antibody Capture"] * 2
        features["genome"] = [b"GRCh38"] * GENES


def loom(path: Path) -> None:
    table = table_of()
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=table.X.toarray().T, chunks=(8, 16), compression="gzip")
        file.create_group("layers")["spliced"] = table.X.toarray().T
        rows, columns = file.create_group("row_attrs"), file.create_group("col_attrs")
        rows["Gene"], rows["Accession"] = table.var["symbol"].tolist(), table.var_names.tolist()
        columns["CellID"], columns["depth"] = table.obs_names.tolist(), table.obs["depth"].to_numpy()


def mtx(path: Path, *, packed: bool = False) -> None:
    path.mkdir()
    table = table_of()
    scipy.io.mmwrite(path / "matrix.mtx", sp.coo_matrix(table.X.T).astype(int))
    (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in table.obs_names))
    lines = zip(table.var_names, table.var["symbol"], strict=True)
    (path / "features.tsv").write_text("".join(f"{one}\t{two}\tGene Expression\n" for one, two in lines))
    for file in list(path.iterdir()) if packed else ():
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def text(path: Path) -> None:
    table = table_of()
    comma = "," if ".csv" in path.name else "\t"
    rows = [["", *table.var_names]]
    rows += [
        [name, *map(str, row)] for name, row in zip(table.obs_names, table.X.toarray().tolist(), strict=True)
    ]
    content = "".join(comma.join(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def store(path: Path) -> None:
    h5ad(path.with_name("in.h5ad"))
    biolm.pack(path.with_name("in.h5ad"), path, progress=False)


CASES = {
    "h5ad": Case(file="x.h5ad", make=h5ad, read=read),
    "h5ad gzip": Case(
        file="x.h5ad", make=partial(h5ad, compression="gzip"), read=partial(read, matrix="csc")
    ),
    "h5ad dense": Case(file="x.h5ad", make=h5ad, read=partial(read, matrix="dense")),
    "zarr": Case(file="x.zarr", make=zarr, read=read),
    "zarr 3": Case(file="x.zarr", make=partial(zarr, version=3), read=read),
    "zarr zip": Case(file="x.zarr.zip", make=zarr_zip, read=read),
    "10x h5": Case(file="x.h5", make=tenx, read=read),
    "loom": Case(file="x.loom", make=loom, read=read),
    "mtx": Case(file="x", make=mtx, read=read),
    "mtx.gz": Case(file="x", make=partial(mtx, packed=True), read=read),
    "csv": Case(file="x.csv", make=text, read=read),
    "tsv.gz": Case(file="x.tsv.gz", make=text, read=read),
    "store of cells": Case(file="x", make=store, read=read, own=True),
}
