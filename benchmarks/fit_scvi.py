"""scVI on the sets of the default model: ``PYTHONPATH=. python benchmarks/fit_scvi.py RAW_DATA``.

scVI (Lopez et al. 2018) has no vectors for cells it was not fitted to, so it is fitted to the cells that are
scored: to one set within it, to both sets of a pair, each a batch, for label transfer. Ten axes, 400 epochs,
seed 0, the 2,000 genes that vary most (of a pair, of those in both). Needs ``scvi-tools``, which biolm does
not depend on; an environment of its own keeps its torch away from biolm's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cellfactors import BLOOD, PAIRS, TISSUE, Cells, within
from numpy.typing import NDArray

from biolm.models.systems.genetext import centre
from biolm.scoring.quality import log_normalised, transfer_quality, variable_columns

if TYPE_CHECKING:
    from anndata import AnnData

EPOCHS, GENES = 400, 2000


def fitted(cells: AnnData, batch: str | None = None) -> NDArray[np.float32]:
    """``(n, 10)`` means of the latent state."""
    import scvi

    scvi.settings.seed = 0
    varied = cells[:, variable_columns(log_normalised(cells.X), GENES)].copy()
    scvi.model.SCVI.setup_anndata(varied, batch_key=batch)
    model = scvi.model.SCVI(varied)
    model.train(max_epochs=EPOCHS, accelerator="cpu", enable_progress_bar=False)
    return np.asarray(model.get_latent_representation(), np.float32)


def main(raw: Path) -> None:
    """Print macro-F1 and CPU seconds."""
    import anndata
    import torch

    torch.set_num_threads(1)
    sets = [Cells(name, raw / "cells") for name in (*BLOOD, *TISSUE)]
    for cells in sets:
        start = time.process_time()
        score = within(centre(fitted(cells.table)), cells)
        print(
            f"- within: {cells.name}: {score.macro_f1:.3f}, {time.process_time() - start:.0f} s", flush=True
        )
    for a, b in ((sets[i], sets[j]) for i, j in PAIRS):
        start = time.process_time()
        both = anndata.concat([a.table, b.table], label="of", index_unique="-")
        vectors = fitted(both, "of")
        known, asked = (centre(part) for part in np.split(vectors, [len(a.labels)]))
        score = transfer_quality(known, a.common, asked, b.common)
        seconds = time.process_time() - start
        print(f"- transfer: {a.name} > {b.name}: {score.macro_f1:.3f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
