"""Make the control of the gene vectors: ``python data/genetext/make_control.py RAW_DATA [OUTPUT_FOLDER]``.

The same genes, axes and scales, found in the same way on the same unlabelled cells, but from Gaussian
numbers in place of the text. What this table does as well as the other, the text has no part in.
"""

from __future__ import annotations

import sys
from pathlib import Path

import make
import numpy as np

WIDTH = 768  # as many numbers a gene as the text gives
SEED = 0


def main(raw: Path, output: Path) -> None:
    """Write ``genetext.safetensors`` of the control."""
    genes = make.read_genes(raw)
    features = np.random.default_rng(SEED).standard_normal((len(genes.human), WIDTH))
    make.write(genes, features, {"text": f"none: Gaussian numbers, seed {SEED}"}, raw, output)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else make.HERE / "control")
