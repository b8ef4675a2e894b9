"""Files of weights: whole, and readable by whom their siblings are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from biolm.core.checkpoint import write_weights


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_weights(tmp_path / "model.safetensors", {"weight": torch.ones(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
