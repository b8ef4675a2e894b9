"""Optional packages: what is missing is told before any work, by names that can be installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import biolm
from biolm import extras
from biolm.errors import ConfigError


def test_no_text_names_a_distribution_that_is_on_no_index(repository: Path) -> None:
    places = ["biolm", "docs", "workflows", "README.md"]
    files = [
        path
        for place in places
        for path in [repository / place, *(repository / place).rglob("*")]
        if path.suffix in (".py", ".md", ".yaml", ".smk")
    ]
    assert len(files) > 300
    wrong = re.compile(r"biolm\[\w|[-\s'\"]biolm==")
    assert not [path for path in files if wrong.search(path.read_text(encoding="utf-8"))]


def test_every_extra_is_read_from_the_metadata(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = [
        f'{package}; extra == "{name}"'
        for name, packages in project["optional-dependencies"].items()
        for package in packages
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: [*project["dependencies"], *declared])
    for name, packages in project["optional-dependencies"].items():
        assert extras.packages_of(name) == packages
    assert extras.advice("fast") == "pip install 'deflate>=0.9'"

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert "pyproject.toml" in extras.advice("fast")


@pytest.mark.parametrize(
    ("module", "call", "package"),
    [
        ("pytorch_lightning", "biolm.annotate.fit('x.h5ad', label='a', method='lora')", "pytorch-lightning"),
        ("pytorch_lightning", "biolm.pretrain({}, 'run')", "pytorch-lightning"),
        ("yaml", "biolm.pretrain('missing.yaml', 'run')", "pyyaml"),
        ("faiss", "biolm.search.build('x.h5ad', index='hnsw')", "faiss-cpu"),
    ],
)
def test_what_is_missing_is_told_before_the_data_are_opened(
    module: str, call: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(ConfigError, match=rf"{module}.* not installed: pip install .*{package}"):
        eval(call, {"biolm": biolm})


def test_files_of_another_distribution_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "biolm").symlink_to(Path(biolm.__file__).parent)
    run = [sys.executable, "-c", "import biolm"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for mixed in (False, True):
        if mixed:
            (tmp_path / "biolm_sdk-1.0.dist-info").mkdir()
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert ("pip uninstall biolm-sdk" in done.stderr) == mixed
