"""A small table of cells for tests of the tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import pytest
from projection import make_cells


@pytest.fixture
def cells() -> anndata.AnnData:
    return make_cells()


@pytest.fixture
def h5ad(tmp_path: Path) -> Callable[..., Path]:
    """Writes cells and returns the path."""

    def write(adata: anndata.AnnData | None = None, name: str = "cells.h5ad") -> Path:
        path = tmp_path / name
        (make_cells() if adata is None else adata).write_h5ad(path)
        return path

    return write
