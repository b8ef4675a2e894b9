"""The attention table and picture of real cells, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import ConfigError, OutputError
from biolm.tasks.attention.cells import FIGURES, attention_of_cells, draw_attention, write_attention


@pytest.fixture
def table(goldens: Path):  # an AttentionTable
    return attention_of_cells(
        goldens / "scgpt" / "embed_cells.h5ad", model=goldens / "scgpt" / "checkpoint", cells=6, device="cpu"
    )


def test_table_of_real_cells(table, tmp_path: Path) -> None:
    assert table.cells == 6
    assert {name: values.shape for name, values in table.figures.items()} == dict.fromkeys(FIGURES, (3, 4))
    assert (table.figures["entropy_share"] <= 1 + 1e-6).all()
    assert (table.figures["entropy_share"] > 0).all()
    write_attention(table, tmp_path / "a.tsv")
    with (tmp_path / "a.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["layer"], row["head"]) for row in rows] == [
        (str(i), str(j)) for i in range(3) for j in range(4)
    ]
    written = np.array([float(row["mean_rank"]) for row in rows]).reshape(3, 4)
    np.testing.assert_allclose(written, table.figures["mean_rank"], rtol=1e-5)
    with pytest.raises(OutputError, match="exists already"):
        write_attention(table, tmp_path / "a.tsv")


def test_picture_is_drawn(table, tmp_path: Path) -> None:
    draw_attention(table, tmp_path / "a.png")
    draw_attention(table, tmp_path / "a.svg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ConfigError, match="names no format for a picture"):
        draw_attention(table, tmp_path / "a.xyz")


def test_model_without_attention_is_refused(shipped_cells: Path) -> None:
    with pytest.raises(ConfigError, match="has no attention"):
        attention_of_cells(shipped_cells / "pbmc_cite_10k.h5ad", model="genetext")
