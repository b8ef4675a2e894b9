"""Files and folders that biolm writes: tokens, stores, annotators, indexes, shards, blocks of a job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from cases import Case
from read_cells import table_of
from scipy.sparse import hstack

import biolm
from biolm.batch import Tokens
from biolm.io.token_store import TokenStore, write_tokens
from biolm.io.tokens import TokenWriter, read_tokens
from biolm.jobs.spool import Spool
from biolm.models.systems import cellfactors
from biolm.tasks.search.build import IndexSettings, make_index
from biolm.tasks.search.index import CellTable, load, save

__all__ = ["CASES"]


def tokens(path: Path) -> None:
    made = Tokens(
        ids=np.arange(300, dtype=np.int32),
        offsets=np.arange(0, 301, 3),
        index=np.arange(100),
        values=np.arange(300, dtype=np.float32),
    )
    with TokenWriter(path, metadata={"model": "x"}) as writer:
        writer.write(made, np.array([f"cell{number}" for number in range(100)]))


def read_stored(path: Path) -> Any:
    return [(names, block.ids, block.values, block.offsets) for names, block in read_tokens(path)]


def token_store(path: Path) -> None:
    tokens(path.with_name("in.parquet"))
    write_tokens([path.with_name("in.parquet")], path)


def read_token_store(path: Path) -> Any:
    store = TokenStore(path)
    found = store.read(np.arange(len(store)))
    return found.ids, found.values, found.offsets


def known_genes() -> AnnData:
    """Cells over genes that the default model has loadings for."""
    table, model = table_of(), cellfactors.load()
    wider = AnnData(hstack([table.X, table.X[::-1]], "csr"), obs=table.obs)
    wider.var_names = [model.vocabulary.genes[row] for row in model.rows[: wider.n_vars]]
    return wider


def annotator(path: Path, *, method: str) -> None:
    biolm.annotate.fit(known_genes(), label="type", output=path, method=method)


def read_annotator(path: Path) -> Any:
    called = biolm.annotate.predict(known_genes(), path, copy=True)
    return called.obsm["biolm_type_probabilities"], called.obs["biolm_type"].tolist()


def index(path: Path, *, kind: str) -> None:
    names = np.array([str(number) for number in range(300)])
    vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    path.mkdir()
    save(make_index(vectors, CellTable(names, names, np.arange(300)), IndexSettings(index=kind)), path)


def search(path: Path) -> Any:
    found = load(path)
    return found.search(np.eye(4, dtype=np.float32), 3), found.cells.names, found.metadata


def shards(path: Path) -> None:
    path.mkdir()
    known_genes().write_h5ad(path.with_name("in.h5ad"))
    for number in (1, 2):
        biolm.embed(
            path.with_name("in.h5ad"),
            output=path / str(number),
            shard=f"{number}/2",
            block_rows=8,
        )


def merge(path: Path) -> Any:
    out = path.with_name("merged.npy")
    out.unlink(missing_ok=True)
    biolm.merge([path / "1", path / "2"], out, data=path.with_name("in.h5ad"))
    return np.load(out)


def block(number: int) -> dict[str, Any]:
    return {"vectors": np.full((4, 3), number, np.float32), "names": np.array(["a", "bc", "", "d"])}


def blocks(path: Path) -> None:
    spool = Spool(path.with_name("out"), {"job": "x"}, 0, 3)
    try:
        with spool.open(resume=False, overwrite=False):
            for number in range(3):
                spool.put(block(number))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass


def read_blocks(path: Path) -> Any:
    spool = Spool(path.with_name("out"), {"job": "x"}, 0, 3)
    with spool.open(resume=True, overwrite=False):
        while spool.next < 3:  # what is lost is done again
            spool.put(block(spool.next))
        return [list(part["vectors"]) + list(part["names"]) for part in spool.parts()]


CASES = {
    "tokens Parquet": Case(file="x.parquet", make=tokens, read=read_stored, own=True),
    "tokens Arrow": Case(file="x.arrow", make=tokens, read=read_stored, own=True),
    "tokens zarr": Case(file="x.zarr", make=tokens, read=read_stored, own=True),
    "token store": Case(file="x", make=token_store, read=read_token_store, own=True),
    "annotator linear": Case(
        file="x", make=partial(annotator, method="linear"), read=read_annotator, own=True
    ),
    "annotator knn": Case(file="x", make=partial(annotator, method="knn"), read=read_annotator, own=True),
    "index": Case(file="x", make=partial(index, kind="exact"), read=search, own=True),
    "index approximate": Case(file="x", make=partial(index, kind="hnsw"), read=search, own=True),
    "shards": Case(file="x", make=shards, read=merge, own=True),
    "blocks of a job": Case(file="out.partial", make=blocks, read=read_blocks, own=True),
}
