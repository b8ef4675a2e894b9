"""Labelled sets of the trial of novelty, their groups, and which types are kin.

Dimensions: ``n`` cells · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.io.cells import open_cells
from biolm.jobs.cells import prepare
from biolm.models.registry import load
from biolm.tasks.annotate.expression import log_normalised
from biolm.tasks.annotate.factor_space import factor_space
from biolm.tasks.annotate.labelled import ChosenCells, read_training
from biolm.tasks.annotate.points import Points
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["CHOOSING", "JUDGING", "LoadedSet", "is_kin", "load_set"]

CHOOSING = (
    "pbmc3k_2638",
    "paul15_mouse_2660",
    "human_lung_lines_mixology",
    "mouse_cortex_zeisel_1464",
    "human_lung_tumour_merfish_3177",
)
JUDGING = (
    "kang_ctrl_5donors",
    "pbmc_3chemistries_1500",
    "pbmc_cite_10k",
    "pbmc68k_reduced_counts_700",
    "zheng_purified_2007",
    "mouse_pancreas_baron1",
    "pancreas_baron_hm_350",
)
GROUPS = {
    "paul15_mouse_2660": "batch",
    "kang_ctrl_5donors": "batch",
    "pbmc_3chemistries_1500": "batch",
    "kang_ctrl_stim": "donor",
}
T_CELLS = {
    *("Naive CD4 T", "Memory CD4 T", "CD8 T", "CD4 T", "CD4 T cells", "CD8 T cells", "T_CD4", "T_CD8"),
    *("CD4+/CD25 T Reg", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic", "CD4+/CD45RO+ Memory"),
    *("CD4+/CD45RA+/CD25- Naive T", "memoryt", "regulatoryt", "thelper", "cytotoxict", "naivet"),
    "naivecytotoxic",
}
MONOCYTES = ["CD14+ Mono", "FCGR3A+ Mono", "CD14+ Monocytes", "FCGR3A+ Monocytes", "Mono_CD14", "Mono_CD16"]
KIN = {
    "paul15_mouse_2660": ["Multipotent progenitors", "GMP", "Monocytes", "Neutrophils"],
    "human_lung_tumour_merfish_3177": ["Plasma", "Lymphocyte", "Mast", "Myeloid"],
    "mouse_pancreas_baron1": ["activated_stellate", "quiescent_stellate"],
}
CELLS, FEWEST = 700, 10
MODEL = load("cellfactors")


@dataclass(frozen=True, eq=False)
class LoadedSet:
    """Cells of one set: their rows in the file, classes, and what is learned from."""

    rows: NDArray[np.int64]
    classes: list[str]
    points: Points
    batch: str | None


def is_kin(name: str, label: str) -> bool:
    """Whether a type is a subtype or sister of another one of the same set."""
    return label in KIN.get(name, [*T_CELLS, *MONOCYTES])


def load_set(folder: Path, name: str, most: int = CELLS) -> LoadedSet:
    """At most ``most`` cells, evenly spaced, of types with ten of these or more."""
    settings = FitSettings(batch=GROUPS.get(name))
    with open_cells(folder / f"{name}.h5ad") as source:
        labels = source.obs_column("cell_type").astype(str)
        usable = np.flatnonzero(~np.isin(labels, ["other", "nan", "unknown"]))
        if settings.batch is not None:
            usable = usable[~np.isin(source.obs_column(settings.batch).astype(str)[usable], ["", "nan"])]
        rows = usable[:: -(-len(usable) // most)]
        names, sizes = np.unique(labels[rows], return_counts=True)
        rows = rows[~np.isin(labels[rows], names[sizes < FEWEST])]
        job = prepare(ChosenCells(source, rows), MODEL, settings)
        held = read_training(job, (), settings)
        space = factor_space(job, settings)
    assert space is not None
    classes, codes = np.unique(labels[rows], return_inverse=True)
    points = Points(
        held.vectors,
        log_normalised(held.counts),
        codes,
        len(classes),
        held.batches,
        held.copies,
        space.cut(held.vectors),
    )
    return LoadedSet(rows, classes.tolist(), points, settings.batch)
