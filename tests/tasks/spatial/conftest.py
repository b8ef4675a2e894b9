"""Small sections made up on a grid: genes follow the place, and the image follows one gene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SPOTS, GENES, STEP = 80, 60, 40


def make_section(seed: int, *, spots: int = SPOTS, genes: int = GENES):
    """An AnnData with counts, places and patient, and a ``(H, W, 3)`` image."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(spots), 10)
    xy = np.stack((col, row), 1) * float(STEP) + 60
    field = np.sin(col / 3 + seed) + np.cos(row / 2)
    loads = rng.normal(size=genes)
    depth = rng.gamma(8, 1 / 8, spots)
    rate = np.exp(0.6 * field[:, None] * loads[None] + 1.2) * depth[:, None]
    counts = rng.poisson(rate).astype(np.float32)
    obs = pd.DataFrame(
        {"array_row": row, "array_col": col, "patient": "P"}, index=[f"s{seed}_{n:03d}" for n in range(spots)]
    )
    adata = anndata.AnnData(
        csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"G{n:03d}" for n in range(genes)])
    )
    adata.obsm["spatial"] = xy
    adata.uns["spot_pitch_um"] = 200.0
    height, width = int(xy[:, 1].max()) + 200, int(xy[:, 0].max()) + 160
    image = np.full((height, width, 3), 235, np.uint8)
    for (x, y), value in zip(xy.astype(int), field, strict=True):
        shade = int(np.clip(130 - 35 * value, 20, 190))
        patch = rng.integers(-8, 9, (STEP, STEP, 3)) + np.array([shade, shade // 2, min(shade + 30, 200)])
        image[y - STEP // 2 : y + STEP // 2, x - STEP // 2 : x + STEP // 2] = patch.clip(0, 200)
    return adata, image


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small sections, prepared."""
    from biolm.adapters.spatial.patches import PatchSettings
    from biolm.tasks.spatial.prepare import prepare
    from biolm.tasks.spatial.settings import PrepareSettings

    folder = tmp_path_factory.mktemp("sections")
    written = []
    for seed in range(3):
        adata, image = make_section(seed)
        source = folder / f"S{seed}.h5ad"
        adata.write_h5ad(source)
        target = folder / f"prepared_S{seed}.h5ad"
        settings = PrepareSettings(patches=PatchSettings(side_um=112, pixels=32))
        prepare(source, target, image=image, settings=settings)
        written.append(target)
    return written


@pytest.fixture(scope="session")
def model_folder(prepared: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model trained on them, scored with one seed."""
    from biolm.tasks.spatial.settings import ModelSettings, TrainSettings
    from biolm.tasks.spatial.train import train
    from biolm.training.spatial.settings import FitSettings

    folder = tmp_path_factory.mktemp("model") / "fusion"
    settings = TrainSettings(
        model=ModelSettings(targets=6, tokens=8, components=5, neighbours=4, width=16, layers=1, heads=2),
        fit=FitSettings(epochs=2, patience=2),
        seeds=1,
    )
    train(prepared, folder, settings=settings)
    return folder
