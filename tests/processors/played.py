"""Settings under which this machine plays other processors: environments for a new process.

Kernels of matrix products are chosen by the processor, so last bits differ between machines. What is promised
must hold on all of them; these are those that one machine can play. Tiles of AMX cannot be played.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PLAYED = {
    "AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "plainest kernels": {"MKL_CBWR": "COMPATIBLE"},
    "AVX-512 without bfloat16": {"MKL_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}


def environment(processor: str) -> dict[str, str]:
    """This process's environment with the settings of one of ``PLAYED``."""
    return os.environ | PLAYED[processor]


def intel(folder: Path) -> dict[str, str] | None:
    """The environment in which MKL takes its Intel paths; None where no C compiler makes the library."""
    compiler, library = shutil.which("cc"), folder / "intel.so"
    if compiler is None:
        return None
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, Path(__file__).with_name("intel.c")], check=True
    )
    return os.environ | {"LD_PRELOAD": str(library)}
