"""Tables and plots of the page, and the page in a browser: clicked, on a phone, in print, at night."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import OutputError
from biolm.report.report import (
    CalibrationPlot,
    CellMap,
    ClassTable,
    Confusion,
    Curve,
    Curves,
    MetricRow,
    MetricTable,
    Part,
    View,
    write_plots,
    write_report,
)
from biolm.scoring.calls import calibration, class_scores

HOSTILE = '<b onclick="x">&'
RNG = np.random.default_rng(0)
TRUTH = RNG.choice(["B", "NK", HOSTILE], 60)


def _parts() -> list[Part]:
    return [
        MetricTable(
            title="Metrics",
            columns=["NMI", "iLISI"],
            explain=["mutual information", HOSTILE],
            rows=[
                MetricRow(name=HOSTILE, values=[0.25, None], is_model=True),
                MetricRow(name="PCA", values=[0.5, -0.1]),
                MetricRow(name="chance", values=[0.9, 0.9], is_control=True),
            ],
        ),
        Curves(
            title="Few-shot",
            x_label="cells a type",
            y_label="macro-F1",
            log=True,
            curves=[
                Curve(name="X_a", x=[1, 50], y=[0.2, 1.0], low=[0.1, 0.9], high=[0.3, 1.0], is_model=True),
                Curve(name=HOSTILE, x=[1, 50], y=[0.3, 0.5]),
            ],
        ),
        Confusion(title="Confusion", names=["B", HOSTILE], counts=np.array([[3, 1], [0, 0]])),
        CalibrationPlot(title="Calibration", calibration=calibration([0.9, 0.9, 0.5], [1, 0, 1])),
        ClassTable(title="Types", rows=class_scores(TRUTH, np.where(RNG.random(60) < 0.7, TRUTH, "B"))),
    ]


def _write(path: Path, cells: int = 60) -> Path:
    rng = np.random.default_rng(1)
    columns = {"type": np.resize(TRUTH, cells), "depth": rng.uniform(0, 9, cells)}
    views = [View(name=name, coordinates=rng.normal(size=(cells, 2))) for name in ("X_a", "PCA")]
    item = CellMap(name="set", cells=[f"c{i}" for i in range(cells)], views=views, columns=columns)
    write_report(path, title="Page", summary=["Text."], maps=[item], parts=_parts(), provenance={"seed": 0})
    return path


def test_tables_mark_the_best_and_say_what_is_missing() -> None:
    page = _parts()[0].html()
    assert re.search(r'class="number best"[^>]*><span>0.500', page)
    assert re.search(r'class="number"[^>]*><span>0.900', page)
    assert re.search(r'class="number"[^>]*><span>0.250', page)
    assert "–" in page
    assert HOSTILE not in page
    assert unescape(page).count(HOSTILE) == 2


def test_class_table_holds_every_class() -> None:
    page = _parts()[-1].html()
    assert page.count("<tr>") == 1 + 3
    assert f'<td class="number">{(TRUTH == "NK").sum()}</td>' in page


def test_calibration_says_whether_it_is_good_enough() -> None:
    assert "NOT calibrated: expected calibration error 0.433" in _parts()[3].html()
    good = CalibrationPlot(title="t", calibration=calibration([1.0, 1.0], [1, 1]))
    assert "Confidence is calibrated: expected calibration error 0.000" in good.html()


def test_curves_place_values_on_their_axes() -> None:
    drawing = _parts()[1].svg()
    points = re.search(r'class="line l0 thick" points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', drawing)
    assert points
    first, second = (np.array([float(x) for x in points.groups()[i : i + 2]]) for i in (0, 2))
    grid = dict(re.findall(r'y2="([\d.]+)"/>\n<text class="end soft"[^>]*>([\d.]+)<', drawing))
    heights = {label: float(y) for y, label in grid.items()}
    assert first[1] == heights["0.2"]
    assert second[1] == heights["1.0"]
    assert first[0] < second[0]


def test_plots_stand_alone(tmp_path: Path) -> None:
    files = write_plots(tmp_path, _parts())
    assert [path.name for path in files] == ["few-shot.svg", "confusion.svg", "calibration.svg"]
    for path in files:
        text = path.read_text()
        assert ET.fromstring(text).tag.endswith("svg")
        assert "var(" not in text
        assert "@media" not in text
    with pytest.raises(OutputError, match="exists"):
        write_plots(tmp_path, _parts())


def _browse(chromium: str, page: Path, folder: Path, *options: str) -> str:
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000",
        *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout


# Clicks as a user would, and puts what it saw in the title, so that the dumped document shows it.
CLICKS = """<script>window.addEventListener('load', () => {
const ink = () => [...document.querySelectorAll('canvas')].map((k) => [...new Uint32Array(
  k.getContext("2d").getImageData(0, 0, k.width, k.height).data.buffer)]
  .reduce((a, b) => (a * 31 + b) % 1e9, 7));
const seen = { content: document.documentElement.scrollWidth, window: innerWidth };
seen.canvases = document.querySelectorAll('canvas').length;
const entries = () => [...document.querySelectorAll('#legend button')];
seen.legend = entries().map((e) => e.textContent);
const before = ink();
entries()[0].click();
seen.singled = ink().every((v, i) => v !== before[i]) && entries()[0].getAttribute('aria-pressed') === 'true';
entries()[0].click();
seen.restored = ink().every((v, i) => v === before[i]);
const column = document.getElementById('column');
column.value = 'depth';
column.dispatchEvent(new Event('change'));
seen.recoloured = ink().every((v, i) => v !== before[i]) && document.querySelector('#legend .scale') !== null;
const canvas = document.querySelector('canvas');
const box = canvas.getBoundingClientRect();
const at = (type, x, y, more) => new PointerEvent(type, { bubbles: true, pointerType: 'mouse',
  clientX: box.left + x * box.width,
  clientY: box.top + y * box.height, ...more });
for (let i = 0; i < 400 && document.getElementById('tip').hidden; i++)
  canvas.dispatchEvent(at('pointermove', (i % 20) / 20, Math.floor(i / 20) / 20, {}));
seen.tip = document.getElementById('tip').textContent;
canvas.dispatchEvent(at('pointerdown', 0.2, 0.2, { button: 0, buttons: 1 }));
window.dispatchEvent(at('pointermove', 0.6, 0.6, { buttons: 1 }));
window.dispatchEvent(at('pointerup', 0.6, 0.6, {}));
seen.enlarged = !document.getElementById('whole').hidden;
document.getElementById('whole').click();
seen.whole = document.getElementById('whole').hidden;
const heading = [...document.querySelectorAll('th[data-sort]')].find((e) => e.textContent === 'Cells');
const cells = () => [...heading.closest('table').tBodies[0].rows].map((r) => Number(r.cells[1].textContent));
heading.click();
seen.down = cells();
heading.click();
seen.up = cells();
document.querySelector('.cell').dispatchEvent(new PointerEvent('pointermove', { bubbles: true }));
seen.cell = document.getElementById('tip').textContent;
document.title = JSON.stringify(seen);
});</script></body>"""


def test_browser_draws_and_answers_clicks(tmp_path: Path, chromium: str) -> None:
    page = _write(tmp_path / "index.html")
    page.write_text(page.read_text().replace("</body>", CLICKS))
    document = _browse(chromium, page, tmp_path, "--window-size=390,800", "--dump-dom")
    seen = json.loads(unescape(re.search(r"<title>(.*?)</title>", document, re.S)[1]))
    counts = sorted(np.unique(TRUTH, return_counts=True)[1].tolist())
    # Nothing is wider than a phone.
    assert seen["content"] <= seen["window"] <= 510
    assert seen["canvases"] == 2
    assert len(seen["legend"]) == 3
    assert all(seen[what] for what in ("singled", "restored", "recoloured", "enlarged", "whole"))
    assert re.match(r"c\d+type: .*depth: ", seen["tip"])
    assert seen["down"] == counts[::-1]
    assert seen["up"] == counts
    assert seen["cell"] == "B called B: 3 cells, 75.0 % of B"


def test_browser_shows_it_on_a_phone_and_at_night(tmp_path: Path, chromium: str) -> None:
    """Screenshots are not blank and differ at night."""
    from matplotlib.image import imread

    page = _write(tmp_path / "index.html")
    phone = tmp_path / "phone.html"
    phone.write_text(
        f'<iframe id="f" src="{page.as_uri()}" style="width:390px;height:800px;border:0"></iframe>'
    )
    pictures = []
    for name, options in (("day", []), ("night", ["--blink-settings=preferredColorScheme=0"])):
        shot = tmp_path / f"{name}.png"
        _browse(chromium, phone, tmp_path, "--window-size=500,800", f"--screenshot={shot}", *options)
        pictures.append(imread(shot)[:780, :380, :3])
    day, night = pictures
    assert day.std() > 0.02
    assert day.mean() > 0.8
    assert night.mean() < 0.4


def test_browser_prints_it(tmp_path: Path, chromium: str) -> None:
    page = _write(tmp_path / "index.html")
    pdf = tmp_path / "page.pdf"
    _browse(chromium, page, tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 1 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 6


def test_names_of_two_vocabularies_make_a_rectangle_in_one_colour() -> None:
    counts = np.array([[8, 2, 0], [0, 0, 5]])
    table = Confusion(
        title="Known types", names=["CD14 mono", "NK"], columns=["CD14+ Mono", "DC", "NK"], counts=counts
    )
    drawn = table.svg()
    assert drawn.count('class="cell neutral"') == 3
    assert "right" not in drawn.replace("upright", "")
    assert "CD14 mono called CD14+ Mono: 8 cells, 80.0 % of CD14 mono" in drawn
    assert "Rows are known types" in table.html()
