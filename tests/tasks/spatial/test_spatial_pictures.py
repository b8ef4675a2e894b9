"""Pictures of sections: panels keep clear of each other, and maps lie over the tissue they belong to."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_section
from PIL import Image

from biolm.report import tissue
from biolm.tasks.spatial import attention

PLACES = np.stack(np.meshgrid(np.arange(9.0), np.arange(7.0)), -1).reshape(-1, 2) * 40
NUMBERS = np.linspace(1000, 2000, len(PLACES)) / 3
KINDS = np.array(["adipose tissue", "a kind with a rather long name"])[np.arange(len(PLACES)) % 2]
GENES = [(f"A-LONG-NAME-OF-A-GENE-{number}", 0.1) for number in range(8)]

DRAWN: dict[str, Callable[[Path], None]] = {
    "values": lambda path: tissue.draw_values(path, PLACES, {"a": NUMBERS, "b": NUMBERS}),
    "labels": lambda path: tissue.draw_labels(path, PLACES, {"a": KINDS, "b": KINDS}),
    "attention": lambda path: tissue.draw_attention(path, None, np.eye(4), GENES, title="spot"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_panels_keep_clear_of_each_other(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Legends, scales and names of one panel do not reach into the next."""
    kept: list[Any] = []
    monkeypatch.setattr(tissue, "save_figure", lambda figure, _path, **_: kept.append(figure))
    DRAWN[name](tmp_path / "x.png")
    (figure,) = kept
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 2
    boxes = [axes.get_tightbbox(figure.canvas.get_renderer()) for axes in panels]
    scales = [axes.get_tightbbox(figure.canvas.get_renderer()) for axes in figure.axes if axes not in panels]
    for one, other in combinations([*boxes, *scales], 2):
        assert not one.overlaps(other)


def test_the_map_of_attention_lies_over_the_tissue(
    prepared: list[Path], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adata, pixels = make_section(0)
    Image.fromarray(pixels).save(tmp_path / "s.png")
    seen: dict[str, Any] = {}

    def note(path: Path, places: Any, values: Any, *, pixels: Any = None) -> None:
        seen.update(places=places, pixels=pixels)
        path.write_bytes(b"")

    monkeypatch.setattr(attention, "draw_values", note)
    found = attention.write_attention(prepared[0], model_folder, tmp_path / "a", image=tmp_path / "s.png")
    assert len(found) == adata.n_obs
    assert seen["pixels"].shape == pixels.shape
    np.testing.assert_allclose(seen["places"], adata.obsm["spatial"])
