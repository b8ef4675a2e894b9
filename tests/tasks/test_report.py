"""The page and the picture: self-contained, safe, drawn by a browser without errors."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import InputError, OutputError
from biolm.report.maps import pack_maps
from biolm.report.picture import draw_maps, umap_layout
from biolm.report.report import (
    CellMap,
    ScoreRow,
    ScoreTable,
    View,
    write_report,
)

HOSTILE = "</script><script>document.title='broken'</script>"


def _maps(cells: int = 30) -> list[CellMap]:
    rng = np.random.default_rng(0)
    views = [
        View(name=name, note="note", coordinates=rng.normal(size=(cells, 2))) for name in ("model", "PCA")
    ]
    depth = rng.uniform(0, 9, cells)
    depth[0] = np.nan
    columns = {"cell_type": np.array(["B", "NK", HOSTILE] * (cells // 3)), "depth": depth}
    return [
        CellMap(name=f"set {i}", cells=[f"c{k}" for k in range(cells)], views=views, columns=columns)
        for i in (1, 2)
    ]


def _write(path: Path, **changes: object) -> Path:
    arguments: dict[str, object] = {
        "title": "Cells & <types>",
        "summary": ["What & why."],
        "maps": _maps(),
        "parts": [
            ScoreTable(
                title="Within one set",
                rows=[
                    ScoreRow(name="model", value=0.7, low=0.6, high=0.8, accuracy=0.75, is_model=True),
                    ScoreRow(name="PCA", value=None),
                ],
            )
        ],
        "provenance": {"seed": 0, "file.h5ad": {"model": "genetext", "genes": {"share": 0.91}}},
    }
    write_report(path, **(arguments | changes))  # type: ignore[arg-type]
    return path


class _Links(HTMLParser):
    """Everything a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def _data(page: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def test_page_loads_nothing_and_escapes_text(tmp_path: Path) -> None:
    page = _write(tmp_path / "index.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.found == []
    assert "default-src 'none'" in page
    assert "Cells &amp; &lt;types&gt;" in page
    assert "{{" not in page
    # A label cannot end the data's element.
    assert HOSTILE not in page
    assert _data(page)["datasets"][0]["columns"][0]["levels"] == [HOSTILE, "B", "NK"]


def test_page_holds_scores_intervals_and_provenance(tmp_path: Path) -> None:
    page = _write(tmp_path / "index.html").read_text()
    assert "0.700" in page
    assert "0.600–0.800" in page
    assert "cannot be computed" in page
    assert "<summary>genes</summary>" in page
    assert "0.91" in page


def _codes(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_coordinates_fill_the_unit_square_and_keep_their_shape(tmp_path: Path) -> None:
    wide = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0]])
    item = CellMap(name="s", cells=["a", "b", "c"], views=[View(name="v", coordinates=wide)], columns={})
    dataset = _data(_write(tmp_path / "i.html", maps=[item]).read_text())["datasets"][0]
    view = dataset["views"][0]
    np.testing.assert_allclose(_codes(view["x"], "<u2") / 65_535, [0, 1, 1])
    np.testing.assert_allclose(_codes(view["y"], "<u2") / 65_535, [0.25, 0.25, 0.75], atol=1e-5)
    # Nothing to colour by: one colour for all.
    assert dataset["columns"][0]["levels"] == ["s"]


def test_columns_come_back_from_the_page() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "type": np.array(["B", "nan", "NK", "", "B"] * 60),
        "depth": np.where(np.arange(300) == 7, np.nan, rng.uniform(-3, 900, 300)),
        "reads": rng.integers(1000, 60_000, 300),
        "constant": np.zeros(300),
        "barcode": np.arange(300).astype(str),
    }
    item = CellMap(
        name="s", cells=["c"] * 300, views=[View(name="v", coordinates=np.eye(300)[:, :2])], columns=columns
    )
    dataset = pack_maps([item])[0]
    packed = {column["name"]: column for column in dataset["columns"]}
    assert "barcode" not in packed
    assert dataset["note"] == "Not offered, as they hold more than 255 values: barcode."
    names = np.array([*packed["type"]["levels"], *[""] * 254])[_codes(packed["type"]["values"], "u1")]
    assert (names == np.where(columns["type"] == "nan", "", columns["type"])).all()
    for name in ("depth", "reads", "constant"):
        codes = _codes(packed[name]["values"], "<u2").astype(float)
        found = np.where(codes == 65_535, np.nan, packed[name]["low"] + packed[name]["step"] * codes)
        np.testing.assert_allclose(found, columns[name], atol=0.007 if name == "depth" else 0)


def test_a_hundred_thousand_cells_stay_under_ten_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    views = [View(name=f"v{i}", coordinates=rng.normal(size=(n, 2))) for i in range(4)]
    columns = {f"type {i}": rng.integers(0, 40, n).astype(str) for i in range(4)}
    columns |= {f"number {i}": rng.normal(size=n) for i in range(4)}
    names = [f"AAACATACAACCAC-{i}" for i in range(n)]
    few = CellMap(name="all", cells=names, views=views, columns=columns)
    whole = _write(tmp_path / "whole.html", maps=[few])
    assert whole.stat().st_size < 10e6
    assert _data(whole.read_text())["datasets"][0]["note"] == ""
    many = CellMap(name="thinned", cells=names, views=views * 5, columns=columns)
    thinned = _write(tmp_path / "thinned.html", maps=[many, few])
    assert thinned.stat().st_size < 10e6
    first, second = _data(thinned.read_text())["datasets"]
    assert re.fullmatch(r"[\d,]+ of 100,000 cells are shown, drawn at random .*", first["note"])
    assert 10_000 < len(first["cells"]) == len(_codes(first["columns"][0]["values"], "u1")) < n
    assert second["note"]


def test_existing_page_is_kept_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        _write(path)
    assert path.read_text() == "mine"
    assert "<h1>" in _write(path, overwrite=True).read_text()


def test_columns_of_other_length_are_refused(tmp_path: Path) -> None:
    view = View(name="v", coordinates=np.zeros((3, 2)))
    item = CellMap(name="s", cells=["a", "b", "c"], views=[view], columns={"x": [1, 2]})
    with pytest.raises(InputError, match="3 cells but columns of"):
        _write(tmp_path / "i.html", maps=[item])
    with pytest.raises(InputError, match="at least one set"):
        _write(tmp_path / "i.html", maps=[], parts=[])
    assert not list(tmp_path.iterdir())


def test_picture_has_one_row_a_set(tmp_path: Path) -> None:
    from matplotlib.image import imread

    maps = [
        CellMap(name=m.name, cells=m.cells, views=m.views, columns={"t": np.array(["B", "NK", "T"] * 10)})
        for m in _maps()
    ]
    draw_maps(tmp_path / "a.png", maps, colour_by="t")
    draw_maps(tmp_path / "b.png", maps, colour_by="t")
    height, width, _ = imread(tmp_path / "a.png").shape
    assert 0.5 < height / width < 1
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.slow
def test_umap_is_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5)) + 20 * (np.arange(60) < 30)[:, None]
    first, second = umap_layout(vectors, seed=3), umap_layout(vectors, seed=3)
    np.testing.assert_array_equal(first, second)
    apart = np.linalg.norm(first[:30].mean(0) - first[30:].mean(0))
    assert apart > first[:30].std(0).max()
