"""Fit the shipped factor model: ``python data/cellfactors/make.py RAW_DATA [OUTPUT_FOLDER]``.

RAW_DATA holds ``cells/`` and ``spatial/``: measured cells, read without labels. The sets that judge (see
``docs/explanation/default-model.md``) are not among them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from biolm.models.systems.cellfactors import FILE, save
from biolm.tasks.factors.fit import fit_to_files
from biolm.tasks.factors.settings import FitSettings

HERE = Path(__file__).resolve().parent
BLOOD = ("cells/pbmc_celltypist_559.h5ad", "cells/pbmc_donor_a_2896.h5ad")
OTHERS = (
    "cells/breast_tumour_302.h5ad",
    "cells/human_cell_lines_hashing_2000.h5ad",
    "cells/human_lung_lines_mixology.h5ad",
    "cells/human_lung_tumour_merfish_3177.h5ad",
    "cells/mouse_brain_nuclei_droplets.h5ad",
    "cells/mouse_cortex_zeisel_1464.h5ad",
    "cells/mouse_embryo_902.h5ad",
    "cells/mouse_esc_klein.h5ad",
    "spatial/her2st_C/C2.h5ad",
    "spatial/her2st_C/C3.h5ad",
    "spatial/her2st_C/C4.h5ad",
    "spatial/her2st_C/C5.h5ad",
    "spatial/her2st_labelled_noimage/A1.h5ad",
    "spatial/her2st_labelled_noimage/C1.h5ad",
    "spatial/her2st_labelled_noimage/G2.h5ad",
)


def main(raw: Path, output: Path) -> None:
    """Write ``cellfactors.safetensors`` and print what goes into the README."""
    model = fit_to_files([raw / name for name in (*BLOOD, *OTHERS)], FitSettings())
    file = output / FILE
    save(model, file)
    print(f"{model.facts['fit']}, {len(model.rows)} genes, {file.stat().st_size} bytes")
    signal = [round(float(model.signal[2**k - 1]), 1) for k in range(7)]
    print(f"signal over noise of factors 1, 2, 4, 8 ...: {signal}")
    print(f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else HERE)
