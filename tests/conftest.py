"""What all tests share: where data lies, which tests can run here, one thread, fixed random examples.

Runs on a machine that has torch but neither anndata nor scanpy, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Two threads made toy models many times slower on a busy two-core machine. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Numba's pool, which maps by UMAP start, sets the number of torch's threads too, and with it the last bits.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

# A test run may play an older processor. torch and the oneDNN in it must then play the same one: otherwise
# torch packs half-precision matrices for instructions that it has no code for, and raises.
if os.environ.get("ATEN_CPU_CAPABILITY") in ("default", "avx2"):
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # The first example pays for compiling kernels and for imports, so a deadline would fail by chance.
    settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "local")


PLAYED_BY = ("ATEN_CPU", "MKL_CBWR", "MKL_ENABLE", "ONEDNN_MAX", "LD_PRELOAD")


def _missing(marker: str) -> str | None:
    """Why tests of this marker cannot run on this machine; None where they can."""
    if marker == "gpu":
        import torch

        return None if torch.cuda.is_available() else "needs a CUDA device"
    if marker == "workflow":
        return None if find_spec("snakemake") else "needs snakemake: pip install snakemake"
    return None if os.environ.get("BIOLM_INTERNET") else "needs the network: set BIOLM_INTERNET=1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    for marker in ("gpu", "workflow", "internet"):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = _missing(marker) if marked else None
        for item in marked if reason else []:
            item.add_marker(pytest.mark.skip(reason=str(reason)))


def pytest_report_header() -> list[str]:
    """Which processor the numbers come from, and which one it plays."""
    import torch

    played = {name: value for name, value in os.environ.items() if name.startswith(PLAYED_BY)}
    plays = [f"{name}={value}" for name, value in sorted(played.items())]
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    half = sorted(flags & {"avx512_bf16", "amx_bf16", "amx_tile"})
    capability = torch.backends.cpu.get_cpu_capability()
    processor = ", ".join([*sorted(names), *half])
    return [f"processor: {processor}; torch uses {capability}; {' '.join(plays) or 'as it is'}"]


def pytest_collection_finish() -> None:
    """One thread for a torch that was imported before the environment was set."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder ``shared`` beside the checkout: larger data and recorded results, not part of the project."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout")
    return folder


@pytest.fixture(scope="session")
def goldens(shared: Path) -> Path:
    """Recorded results of reference implementations."""
    return shared / "goldens"


@pytest.fixture(scope="session")
def data_cells(shared: Path) -> Path:
    """Larger sets of measured cells."""
    return shared / "data" / "cells"


@pytest.fixture(scope="session")
def shipped_cells() -> Path:
    """The two labelled sets that ship with biolm."""
    return REPOSITORY / "data" / "cells"


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium browser."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("needs a Chromium browser: apt-get install chromium")
