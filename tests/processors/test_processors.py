"""Promises of numbers, asked on every processor that this machine can play, each in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from processors.played import PLAYED, environment, intel

TESTS = Path(__file__).resolve().parent.parent
PROMISES = [
    "models/test_running.py",
    "models/test_seq2seq.py",
    "core/test_cache.py",
    "core/test_model.py",
    "objectives/test_examples_heads.py",
]


# Compiled layers and long schedules take most of the time and are not about kernels of products.
CHEAP = "not compiled and not any_schedule"


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment, text=True, capture_output=True, check=False
    )


def promises_hold(environment: dict[str, str]) -> None:
    tests = [str(TESTS / name) for name in PROMISES]
    done = run(environment, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", CHEAP, *tests)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.slow
@pytest.mark.parametrize("processor", PLAYED)
def test_promises_hold_on_a_played_processor(processor: str) -> None:
    promises_hold(environment(processor))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="MKL chooses between paths on x86-64 alone")
def test_promises_hold_on_the_paths_of_intel(tmp_path: Path) -> None:
    settings = intel(tmp_path)
    if settings is None:
        pytest.skip("needs a C compiler as cc")
    asked = "import torch; torch.ones(64, 64) @ torch.ones(64, 64)"
    said = run(settings | {"MKL_VERBOSE": "1"}, "-c", asked).stdout
    if "MKL_VERBOSE" not in said:
        pytest.skip("this torch multiplies without MKL")
    assert (
        "Intel(R) Architecture processors" not in said
    )  # the general path, taken where MKL is not convinced
    promises_hold(settings)
