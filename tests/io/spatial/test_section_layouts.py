"""Every layout of sections, on real reader fixtures and on small folders written here.

Numbers of traps are those of the specification, A.5.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import InputError
from biolm.io.spatial import SectionOptions, open_section
from biolm.io.spatial.joins import as_text, join_names
from biolm.io.spatial.positions import COLUMNS, read_positions


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    folder = shared / "data" / "spatial"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/spatial")
    return folder


def rows_of(header: bool) -> str:
    lines = ["AAAC-1,1,0,16,1252,2312", "AAAG-1,0,1,17,1300.5,2400", "AAAT-1,1,2,18,1350,2500"]
    return "\n".join([",".join(COLUMNS), *lines] if header else lines) + "\n"


@pytest.mark.parametrize(
    "name", ["tissue_positions_list.csv", "tissue_positions.csv", "my_tissue_positions.csv"]
)
@pytest.mark.parametrize("header", [True, False])
def test_trap_1_and_2_header_is_told_by_content_not_by_name(tmp_path: Path, name: str, header: bool) -> None:
    """Traps 1 and 2: the first spot is not dropped, nor the header read as a spot, whatever the name."""
    path = tmp_path / name
    path.write_text(rows_of(header))
    found = read_positions(path)
    assert found.header is header
    assert found.names.tolist() == ["AAAC-1", "AAAG-1", "AAAT-1"]
    assert found.columns["in_tissue"].tolist() == [1, 0, 1]


def test_trap_3_columns_are_row_then_column_and_places_are_x_then_y(tmp_path: Path) -> None:
    """Trap 3: pxl_row is y and pxl_col is x."""
    path = tmp_path / "tissue_positions.csv"
    path.write_text(rows_of(True))
    assert read_positions(path).xy.tolist() == [[2312, 1252], [2400, 1300.5], [2500, 1350]]


@given(
    st.lists(st.text("ACGT", min_size=3, max_size=6), unique=True, min_size=1, max_size=12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_positions_come_back_whatever_the_order(tmp_path_factory, names, header, random) -> None:
    path = tmp_path_factory.mktemp("p") / "tissue_positions.csv"
    places = {name: (random.randrange(9000), random.randrange(9000)) for name in names}
    lines = [f"{name},1,0,0,{row},{col}" for name, (row, col) in places.items()]
    path.write_text("\n".join([",".join(COLUMNS), *lines] if header else lines) + "\n")
    found = read_positions(path)
    assert {n: (y, x) for n, (x, y) in zip(found.names, found.xy.tolist(), strict=True)} == places


def test_space_ranger_1(data: Path) -> None:
    with open_section(data / "visiumio_v1_brain50" / "outs") as section:
        assert (section.layout, len(section), section.n_genes) == ("space-ranger", 50, 49)
        assert section.counts().sum() == 607
        assert section.columns["in_tissue"].sum() == 22
        assert section.counted["positions_header"] is False
        assert section.counted["matched_fraction"] == 1
        place = section.names.tolist().index("AAACAACGAATAGTTC-1")
        assert section.xy[place].tolist() == [2312, 1252]
        adata = section.to_anndata()
        assert adata.obsm["spatial"][place].tolist() == [2312, 1252]


def test_space_ranger_2_and_the_mtx_folder(data: Path) -> None:
    with open_section(data / "sfe_visium_v2_sample01" / "outs") as section:
        assert (len(section), section.n_genes) == (12, 5)
        assert section.counted["positions_header"] is True
        assert [image.name for image in section.images] == ["hires", "lowres"]
        assert section.images[0].scale == pytest.approx(0.075120196)


def test_visium_hd_bins(data: Path) -> None:
    with open_section(data / "seurat_visium_hd") as section:
        assert section.spot_pitch_um == 8
        assert section.microns_per_pixel == pytest.approx(0.27376126715315274)
        # The spot of a bin is the bin: diameter in pixels times µm per pixel is its side.
        assert section.spot_diameter_px * section.microns_per_pixel == pytest.approx(8, rel=1e-4)
        assert section.counted["positions_file"] == "tissue_positions.parquet"
    with pytest.raises(InputError, match="no bins of 2 µm; it has 8, 16 µm"):
        open_section(data / "seurat_visium_hd", SectionOptions(bin_um=2))
    with pytest.raises(InputError, match="the option bin_um is not used by this layout"):
        open_section(data / "visiumio_v1_brain50" / "outs", SectionOptions(bin_um=8))


def test_positions_and_matrix_that_share_few_barcodes_are_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"only 642 of 2,695 ids of the counts \(24%\)"):
        open_section(data / "seurat_visium_hd", SectionOptions(bin_um=16))
    with open_section(data / "seurat_visium_hd", SectionOptions(bin_um=16, allow_unmatched=True)) as section:
        assert len(section) == 642
        assert section.counted["matched_fraction"] == pytest.approx(642 / 2695)


def hd4(folder: Path, data: Path) -> Path:
    """Segmented outputs of Space Ranger 4: cells with polygons and no table of positions."""
    import h5py

    inner = folder / "outs" / "segmented_outputs"
    (inner / "spatial").mkdir(parents=True)
    matrix = inner / "filtered_feature_cell_matrix.h5"
    shutil.copy(data / "visiumio_v1_brain50/outs/raw_feature_bc_matrix.h5", matrix)
    with h5py.File(matrix, "r+") as file:
        count = len(file["matrix/barcodes"])
        del file["matrix/barcodes"]
        file["matrix/barcodes"] = [f"cellid_{number:09d}-1".encode() for number in range(1, count + 1)]
    shapes = [
        {
            "type": "Feature",
            "properties": {"cell_id": number},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, 0], [x + 4, 0], [x + 4, 2], [x, 2], [x, 0]]],
            },
        }
        for number, x in ((n, 10 * n) for n in range(1, 51))
    ]
    collection = {"type": "FeatureCollection", "features": shapes}
    (inner / "cell_segmentations.geojson").write_text(json.dumps(collection))
    (inner / "spatial" / "scalefactors_json.json").write_text(json.dumps({"microns_per_pixel": 0.25}))
    return folder / "outs"


def test_visium_hd_segmented_cells_take_the_centroids_of_polygons(data: Path, tmp_path: Path) -> None:
    outs = hd4(tmp_path, data)
    with open_section(outs) as section:
        assert section.layout == "visium-hd-segmented"
        assert section.xy[0].tolist() == [12, 1]
        assert section.xy[49].tolist() == [502, 1]
        assert section.microns_per_pixel == 0.25
    (outs / "segmented_outputs" / "cell_segmentations.geojson").unlink()
    with pytest.raises(InputError, match=r"no cell_segmentations\.geojson"):
        open_section(outs, SectionOptions(segmented=True))


def test_xenium_ids_are_bytes_in_one_table_and_text_in_the_other(data: Path) -> None:
    with open_section(data / "sfe_xenium_toy") as section:
        assert (len(section), section.n_genes, section.unit) == (526, 27, "um")
        assert section.counted["cells_with_boundaries"] == 526
        assert section.counted["controls"] == {
            "Negative Control Probe": {"features": 1, "counts": 1.0},
            "Unassigned Codeword": {"features": 2, "counts": 2.0},
        }
        assert section.counts().sum() == 45_726
    # Without decoding nothing would join.
    mixed = np.array([b"jcccmpde-1", b"jccimfne-1"], dtype=object)
    plain = np.array(["jcccmpde-1", "jccimfne-1"])
    assert join_names(plain, as_text(mixed), "x")[2] == 1
    with pytest.raises(InputError, match="0 of 2"):
        join_names(plain, np.array([str(key) for key in mixed]), "x")


def test_xenium_states_its_pixel_size_or_it_is_asked_for(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "xenium"
    shutil.copytree(data / "sfe_xenium_toy", folder)
    (folder / "cells.parquet").unlink()  # the csv alone does as well
    (folder / "experiment.xenium").write_text(json.dumps({"pixel_size": 0.2125}))
    with open_section(folder) as section:
        assert section.microns_per_pixel == 0.2125
        assert section.images[0].scale == pytest.approx(1 / 0.2125)


def test_cosmx_rows_in_no_cell_are_counted_and_ids_repeat_across_fields(data: Path, tmp_path: Path) -> None:
    with open_section(data / "sfe_cosmx_toy") as section:
        assert len(section) == 27
        assert "1_0" not in section.names
        assert section.counted["rows_in_no_cell"] == 1
        assert section.counted["counts_in_no_cell_fraction"] == pytest.approx(0.919, abs=0.001)
        assert section.counted["controls"]["probes"] == 960 - section.n_genes
        assert section.microns_per_pixel == 0.12028
    folder = tmp_path / "cosmx"
    folder.mkdir()
    for name in ("exprMat_file", "metadata_file"):
        text = (data / "sfe_cosmx_toy" / f"Run5642_S3_Quarter_{name}.csv").read_text().splitlines()
        again = [line.replace("1,", "2,", 1) for line in text[1:]]  # the same cell numbers in field 2
        (folder / f"R_{name}.csv").write_text("\n".join([*text, *again]) + "\n")
    with open_section(folder) as section:
        assert len(section) == 54
        assert len(set(section.names.tolist())) == 54


def test_merscope_keeps_ids_of_39_digits_and_counts_blanks(data: Path) -> None:
    with open_section(data / "sfe_merscope_toy") as section:
        assert section.names[0] == "103327291694389284070574461648020091166"
        assert (len(section), section.n_genes) == (100, 347)
        assert section.counted["controls"]["blanks"] == 38
        assert section.counts().sum() + section.counted["controls"]["counts"] == 32_171


def test_merscope_transform_places_cells_in_the_mosaic(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "merscope"
    shutil.copytree(data / "sfe_merscope_toy", folder)
    (folder / "images" / "micron_to_mosaic_pixel_transform.csv").write_text("2 0 -100\n0 2 50\n0 0 1\n")
    with open_section(folder) as section:
        image = section.images[0]
        place = (np.array([60.0, 10.0]) - image.origin) * image.scale
        assert place.tolist() == [20, 70]
    (folder / "images" / "micron_to_mosaic_pixel_transform.csv").write_text("0 2 0\n2 0 0\n0 0 1\n")
    with pytest.raises(InputError, match="turns or stretches"):
        open_section(folder)


def test_spatial_transcriptomics_tables(data: Path, tmp_path: Path) -> None:
    import pandas as pd

    with open_section(data / "her2st_C" / "C2.h5ad") as section:
        counts = pd.DataFrame(section.counts()[:, :40].toarray(), columns=section.genes()[:40])
        x, y = (np.asarray(section.columns[name], float) for name in ("array_x", "array_y"))
        xy = section.xy
    names = [f"{round(a)}x{round(b)}" for a, b in zip(x, y, strict=True)]
    counts.index = names
    counts.to_csv(tmp_path / "C2.tsv", sep="\t")
    spots = pd.DataFrame(
        {"x": x, "y": y, "new_x": x + 0.03, "pixel_x": xy[:, 0], "pixel_y": xy[:, 1], "selected": 1}
    )
    spots.loc[3, "selected"] = 0
    spots.sample(frac=1, random_state=0).to_csv(tmp_path / "C2_selection.tsv", sep="\t", index=False)
    with open_section(tmp_path) as section:
        assert section.layout == "st"
        assert len(section) == 186
        assert section.counted["spots_not_selected"] == 1
        row = names.index(section.names[100])
        assert section.xy[100].tolist() == xy[row].tolist()
        assert section.counts()[100].sum() == counts.iloc[row].sum()


def test_h5ad_with_several_libraries(tmp_path: Path) -> None:
    import anndata

    adata = anndata.AnnData(np.ones((4, 3), np.float32))
    adata.obsm["spatial"] = np.arange(8.0).reshape(4, 2)
    adata.uns["spatial"] = {name: {"scalefactors": {"tissue_hires_scalef": 0.1}} for name in ("A", "B")}
    path = tmp_path / "two.h5ad"
    adata.write_h5ad(path)
    with pytest.raises(InputError, match="no column of obs says which spot is of which"):
        open_section(path, SectionOptions(library="A"))
    adata.obs["slide"] = ["A", "B", "A", "B"]
    adata.write_h5ad(path)
    with pytest.raises(InputError, match="choose one with `library`: A, B"):
        open_section(path)
    with open_section(path, SectionOptions(library="B")) as section:
        assert section.xy.tolist() == [[2, 3], [6, 7]]
    with open_section(adata, SectionOptions(library="A", library_column="slide")) as section:
        assert section.counts().shape == (2, 3)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_spatialdata_folder(tmp_path: Path) -> None:
    import anndata
    import zarr

    adata = anndata.AnnData(np.ones((4, 3), np.float32))
    adata.obsm["spatial"] = np.arange(8.0).reshape(4, 2)
    root = tmp_path / "sample.zarr"
    (root / "tables").mkdir(parents=True)
    adata.write_zarr(root / "tables" / "table")
    scales = {"axes": [{"name": n} for n in "cyx"], "datasets": [{"path": "0"}, {"path": "1"}]}
    image = zarr.create_group(root / "images" / "he", attributes={"ome": {"multiscales": [scales]}})
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 60), dtype=np.uint8)
    image.create_array("0", data=pixels)
    image.create_array("1", data=np.ascontiguousarray(pixels[:, ::2, ::2]))
    with open_section(root) as section:
        assert section.layout == "spatialdata"
        from biolm.io.spatial.images import open_image

        opened = open_image(section.images[0].source)
        assert [(level.width, level.downsample) for level in opened.levels] == [(60, 1), (30, 2)]
        assert np.array_equal(opened.levels[0].read(5, 6, 7, 8), np.moveaxis(pixels[:, 6:14, 5:12], 0, -1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_nan_are_refused(value: float) -> None:
    import anndata

    adata = anndata.AnnData(np.ones((3, 2), np.float32))
    adata.obsm["spatial"] = np.array([[0.0, 1.0], [value, 2.0], [3.0, 4.0]])
    with pytest.raises(InputError, match="1 of 3 spots have coordinates that are NaN or infinite"):
        open_section(adata)


def test_what_is_no_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no section that biolm knows"):
        open_section(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        open_section(tmp_path / "nothing")
    import anndata

    with pytest.raises(InputError, match="places of its spots"):
        open_section(anndata.AnnData(np.ones((3, 2), np.float32)))


def test_a_table_of_a_million_bins_opens_in_bounded_memory(tmp_path: Path) -> None:
    import h5py
    import psutil
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, folder = 1_000_000, tmp_path / "binned_outputs" / "square_008um"
    (folder / "spatial").mkdir(parents=True)
    row, col = np.divmod(np.arange(count), 1000)
    names = np.array([f"s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, col, strict=True)])
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = names.astype("S24")
        group["shape"] = [5, count]
        group["indptr"] = np.arange(count + 1)
        group.create_dataset("indices", data=np.zeros(count, np.int32))
        group.create_dataset("data", data=np.ones(count, np.int32))
        features = group.create_group("features")
        for key in ("id", "name"):
            features[key] = [f"G{n}".encode() for n in range(5)]
        features["feature_type"] = [b"Gene Expression"] * 5
    table = dict(zip(COLUMNS, (names, np.ones(count, int), row, col, row * 29.2, col * 29.2), strict=True))
    places = pa.table({key: pa.array(values) for key, values in table.items()})
    pq.write_table(places, folder / "spatial" / "tissue_positions.parquet")
    del table, names, places
    process = psutil.Process()
    before = process.memory_info().rss
    with open_section(tmp_path) as section:
        total = sum(float(block.data.sum()) for block in section.blocks(65_536))
        assert total == len(section) == count
        assert process.memory_info().rss - before < 1.2 * 2**30
