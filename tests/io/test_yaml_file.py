"""YAML that came with weights: read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from biolm.errors import CheckpointError
from biolm.io.yaml_file import read_yaml


def test_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("model:\n  d_model: 8\n")
    assert read_yaml(path) == {"model": {"d_model": 8}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe", "not valid YAML"),
        (b"[" * 5000, "nested too deep"),
        (b"- 1\n", "holds no fields"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
        (None, r"lacks config\.yml"),
    ],
)
def test_refusals(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "config.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_yaml(path)
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_yaml(path)
