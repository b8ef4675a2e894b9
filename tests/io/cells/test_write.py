"""What is written is read back by anndata: copies, conversions between stores, and stores built anew."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from biolm.errors import InputError, OutputError
from biolm.io.anndata.convert import convert
from biolm.io.anndata.result import check_store, write_result
from biolm.io.anndata.vectors import CellVectors
from biolm.io.cells import open_cells

if TYPE_CHECKING:
    from anndata import AnnData

RECORD = {"model": "m", "seed": 3, "share": 0.5, "centred": True, "genes": {"matched": 2}}


def result_for(cells: int, key: str = "X_m", empty: tuple[int, ...] = (3,)) -> CellVectors:
    vectors = np.random.default_rng(1).standard_normal((cells, 5)).astype(np.float32)
    flags = np.isin(np.arange(cells), empty)
    vectors[flags] = 0
    return CellVectors(key=key, vectors=vectors, empty=flags, provenance=RECORD)


def stored(adata: AnnData, folder: Path, form: str) -> Path:
    import anndata

    path = folder / f"in.{form.rstrip('23')}"
    if form == "h5ad":
        adata.write_h5ad(path)
    else:
        with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=int(form[-1])):
            warnings.simplefilter("ignore")  # zarr calls parts of its format 3 young
            adata.write_zarr(path)
    return path


def read(path: Path) -> AnnData:
    import anndata

    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


def check_same(before: AnnData, after: AnnData) -> None:
    def dense(matrix):
        return getattr(matrix, "toarray", lambda: matrix)()

    np.testing.assert_array_equal(dense(before.X), dense(after.X))
    assert set(before.layers) == set(after.layers)
    for name in before.layers:
        np.testing.assert_array_equal(dense(before.layers[name]), dense(after.layers[name]))
        assert type(before.layers[name]) is type(after.layers[name])
    np.testing.assert_array_equal(dense(before.raw.X), dense(after.raw.X))
    assert after.var.equals(before.var)
    columns = list(before.obs.columns)
    assert list(after.obs.columns) == [*columns, "X_m_empty"]
    assert after.obs[columns].equals(before.obs)


def test_attributes_are_written_without_the_lock_of_hdf5(tmp_path, monkeypatch):
    """zarr writes in other threads, which may have to throw away what belongs to HDF5."""
    import anndata
    import zarr

    waited = []
    write = zarr.core.attributes.Attributes.__setitem__

    def noted(self, key, value):
        other = threading.Thread(target=lambda: h5py.File(tmp_path / "other.h5", "w").close())
        other.start()
        other.join(timeout=600)
        assert not other.is_alive(), "the lock is held"
        waited.append(key)
        write(self, key, value)

    anndata.AnnData(np.ones((3, 2), np.float32)).write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.setattr(zarr.core.attributes.Attributes, "__setitem__", noted)
    convert(tmp_path / "in.h5ad", tmp_path / "out.zarr", "zarr", result_for(3))
    assert "encoding-type" in waited


@pytest.mark.parametrize("target", ["h5ad", "zarr"])
@pytest.mark.parametrize("source", ["h5ad", "zarr2", "zarr3"])
def test_everything_moves_and_vectors_are_added(adata, tmp_path, source, target):
    adata.uns["nested"] = {"list": np.array(["a", "b"]), "empty": np.zeros(0), "one": 1.5}
    adata.obsm["X_pca"] = np.random.default_rng(0).standard_normal((adata.n_obs, 3))
    path, out = stored(adata, tmp_path, source), tmp_path / f"out.{target}"
    before = read(path)
    result = result_for(adata.n_obs)
    with open_cells(path) as cells:
        write_result(cells, out, target, result)
    after = read(out)
    check_same(before, after)
    np.testing.assert_array_equal(after.obsm["X_m"], result.vectors)
    np.testing.assert_array_equal(after.obsm["X_pca"], before.obsm["X_pca"])
    assert after.obsm["X_m"].dtype == np.float32
    assert after.uns["biolm"]["X_m"] == RECORD
    assert after.uns["nested"]["list"].tolist() == ["a", "b"]
    assert after.uns["nested"]["one"] == 1.5
    assert np.flatnonzero(after.obs["X_m_empty"]).tolist() == [3]


@pytest.mark.parametrize("form", ["h5ad", "zarr2", "zarr3"])
def test_a_second_embedding_keeps_the_first(adata, tmp_path, form):
    path = stored(adata, tmp_path, form)
    for number, key in enumerate(["X_a", "X_b", "X_a"]):
        out = tmp_path / f"out{number}{path.suffix}"
        with open_cells(path) as cells:
            write_result(cells, out, path.suffix[1:], result_for(adata.n_obs, key=key))
        path = out
    after = read(path)
    assert set(after.obsm) == {"X_a", "X_b"}
    assert set(after.uns["biolm"]) == {"X_a", "X_b"}
    assert list(after.obs.columns)[-2:] == ["X_a_empty", "X_b_empty"]


def test_without_empty_cells_no_flag_is_added(adata, tmp_path):
    path = stored(adata, tmp_path, "h5ad")
    with open_cells(path) as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs, empty=()))
    assert read(tmp_path / "out.h5ad").obs.equals(read(path).obs)


def test_a_copy_moves_compressed_chunks_as_they_are(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    with open_cells(tmp_path / "in.h5ad") as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs))
    with h5py.File(tmp_path / "in.h5ad") as before, h5py.File(tmp_path / "out.h5ad") as after:
        old, new = before["X/data"], after["X/data"]
        assert new.compression == "gzip"
        assert new.id.read_direct_chunk((0,)) == old.id.read_direct_chunk((0,))


def test_a_file_without_obsm_and_uns_gets_them(adata, tmp_path):
    path = stored(adata, tmp_path, "h5ad")
    with h5py.File(path, "r+") as file:
        del file["obsm"], file["uns"]
    with open_cells(path) as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs))
    assert read(tmp_path / "out.h5ad").obsm["X_m"].shape == (adata.n_obs, 5)


@pytest.mark.parametrize("target", ["h5ad", "zarr"])
def test_a_table_becomes_a_store(adata, tmp_path, target):
    frame = adata.to_df().astype(int)
    frame.to_csv(tmp_path / "in.csv")
    out = tmp_path / f"out.{target}"
    with open_cells(tmp_path / "in.csv") as cells:
        write_result(cells, out, target, result_for(adata.n_obs))
    after = read(out)
    np.testing.assert_array_equal(after.X.toarray(), adata.X.toarray())
    assert after.obs_names.tolist() == adata.obs_names.tolist()
    assert after.var_names.tolist() == adata.var_names.tolist()
    assert after.uns["biolm"]["X_m"] == RECORD


def test_loom_keeps_its_layers_and_columns(adata, tmp_path):
    with h5py.File(tmp_path / "in.loom", "w") as file:
        file["matrix"] = adata.X.toarray().T
        file["layers/spliced"] = adata.X.toarray().T * 2
        file["col_attrs/CellID"] = adata.obs_names.to_numpy(dtype=object)
        file["col_attrs/age"] = adata.obs["age"].to_numpy()
        file["row_attrs/Gene"] = adata.var["gene_symbol"].to_numpy(dtype=object)
        file["row_attrs/Accession"] = adata.var_names.to_numpy(dtype=object)
    with open_cells(tmp_path / "in.loom", matrix="layers/spliced") as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs))
    after = read(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(after.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(after.layers["spliced"].toarray(), 2 * adata.X.toarray())
    assert after.obs["age"].tolist() == adata.obs["age"].tolist()
    assert after.var_names.tolist() == adata.var["gene_symbol"].tolist()
    assert after.var["Accession"].tolist() == adata.var_names.tolist()


def test_tenx_becomes_a_store_with_sorted_columns(adata, tmp_path):
    """10x files may list the genes of a cell in any order."""
    counts = adata.X.tocsr().astype(np.int32)
    counts.sort_indices()
    backwards = [np.arange(a, b)[::-1] for a, b in zip(counts.indptr[:-1], counts.indptr[1:], strict=True)]
    order = np.concatenate(backwards)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"] = counts.data[order], counts.indices[order].astype(np.int64)
        group["indptr"], group["shape"] = counts.indptr, np.array(counts.shape[::-1])
        group["barcodes"] = adata.obs_names.to_numpy(dtype="S")
        group["features/id"] = adata.var_names.to_numpy(dtype="S")
        group["features/name"] = adata.var["gene_symbol"].to_numpy(dtype="S")
        group["features/feature_type"] = np.full(adata.n_vars, b"Gene Expression")
    with open_cells(tmp_path / "in.h5") as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs))
    after = read(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(after.X.toarray(), adata.X.toarray())
    assert after.X.has_sorted_indices


def test_a_zipped_store_becomes_a_folder(adata, tmp_path):
    import zipfile

    path = stored(adata, tmp_path, "zarr2")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in sorted(path.rglob("*")):
            archive.write(file, file.relative_to(path))
    with open_cells(tmp_path / "in.zip") as cells:
        write_result(cells, tmp_path / "out.zarr", "zarr", result_for(adata.n_obs))
    check_same(read(path), read(tmp_path / "out.zarr"))


def test_a_foreign_key_is_protected(adata, tmp_path):
    adata.obsm["X_m"] = np.ones((adata.n_obs, 2))
    path = stored(adata, tmp_path, "h5ad")
    with open_cells(path) as cells:
        with pytest.raises(OutputError, match="was not written by biolm"):
            check_store(cells, "h5ad", "X_m", overwrite=False)
        check_store(cells, "h5ad", "X_m", overwrite=True)
        check_store(cells, "parquet", "X_m", overwrite=False)
        write_result(cells, tmp_path / "out.h5ad", "h5ad", result_for(adata.n_obs))
    assert read(tmp_path / "out.h5ad").obsm["X_m"].shape == (adata.n_obs, 5)


def test_a_layout_that_nothing_can_be_added_to_is_refused(adata, tmp_path):
    path = stored(adata, tmp_path, "h5ad")
    with h5py.File(path, "r+") as file:
        del file["obsm"]
        file["obsm"] = np.zeros(adata.n_obs, [("X_pca", "f4")])
    with open_cells(path) as cells, pytest.raises(InputError, match=r"anndata before 0\.7"):
        check_store(cells, "h5ad", "X_m", overwrite=False)


def test_transform_is_applied_on_the_way_out(adata, tmp_path):
    path = stored(adata, tmp_path, "h5ad")
    plain = result_for(adata.n_obs)
    doubled = CellVectors(
        key="X_m", vectors=plain.vectors, empty=plain.empty, provenance={}, transform=lambda rows: 2 * rows
    )
    with open_cells(path) as cells:
        write_result(cells, tmp_path / "out.h5ad", "h5ad", doubled)
    np.testing.assert_array_equal(read(tmp_path / "out.h5ad").obsm["X_m"], 2 * plain.vectors)
    np.testing.assert_array_equal(doubled.whole(), 2 * plain.vectors)


@pytest.mark.parametrize("text", ["lung", "naïve", "β cell"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_of_fixed_length_is_read_and_converted(
    adata: AnnData, tmp_path: Path, text: str, encoding: str
) -> None:
    """Strings of fixed length in HDF5, in UTF-8 or as tools wrote them that knew Latin-1 alone."""
    raw = text.encode(encoding, "ignore")
    path = stored(adata, tmp_path, "h5ad")
    with h5py.File(path, "r+") as file:
        file["obs"].attrs["column-order"] = np.array(["kept"], object)
        file["obs/kept"] = np.full(adata.n_obs, raw, f"S{len(raw)}")
        file["obs/kept"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    wanted = raw.decode(encoding)
    with open_cells(path) as cells:
        assert set(cells.obs_column("kept").tolist()) == {wanted}
        write_result(cells, tmp_path / "out.zarr", "zarr", result_for(adata.n_obs))
    with open_cells(tmp_path / "out.zarr") as cells:
        assert set(cells.obs_column("kept").tolist()) == {wanted}
