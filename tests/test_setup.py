"""The set-up: every package pinned, the environment checked, one clear sentence where it fails."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

# Packages that one platform's build of torch brings along, what pip itself brings, and biolm.
NOT_PINNED = re.compile(r"(nvidia|triton|cuda|biolm$|pip$|setuptools$|wheel$)")


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in found)
    return {_canonical(name): version for name, version in found}


@pytest.fixture
def environment(repository: Path) -> dict[str, Any]:
    return runpy.run_path(str(repository / ".ci" / "environment.py"))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_pins_are_public_versions(pins: dict[str, str]) -> None:
    assert pins["torch"] == "2.13.0"
    assert not [name for name, version in pins.items() if "+" in version or NOT_PINNED.match(name)]
    assert not {"timm", "torchvision"} & pins.keys()


def test_every_dependency_is_pinned(pins: dict[str, str], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    declared = {_canonical(re.split(r"[<>=!~; \[]", line)[0]) for line in project["dependencies"] + extras}
    assert declared - pins.keys() == set()


@pytest.mark.skipif(".venv" not in sys.prefix, reason="needs the environment that make sets up")
def test_installed_packages_are_the_pinned_ones(pins: dict[str, str]) -> None:
    # setuptools adds its own vendored copies to the path of a running process; they are not installed.
    found = distributions(path=[sysconfig.get_path("purelib")])
    installed = {_canonical(each.metadata["Name"]): each.version.partition("+")[0] for each in found}
    ours = {name: version for name, version in installed.items() if not NOT_PINNED.match(name)}
    assert {name: version for name, version in ours.items() if pins.get(name) != version} == {}


def test_check_refuses_another_torch(environment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    main = environment["main"]
    for found, message in (("2.12.1+cu130", "torch is 2.12.1"), (None, "torch is missing")):
        monkeypatch.setitem(main.__globals__, "installed", {"torch": found}.get)
        with pytest.raises(SystemExit, match=message):
            main()
    monkeypatch.setitem(main.__globals__, "installed", {"torch": "2.13.0+cpu", "timm": "1.0"}.get)
    with pytest.raises(SystemExit, match="timm must not be installed"):
        main()
    monkeypatch.setitem(main.__globals__, "installed", {"torch": "2.13.0+cu130"}.get)
    main()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_refuses_an_old_python(repository: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, tmp_path)
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "biolm needs Python 3.11 or later" in done.stderr
    assert not (tmp_path / ".venv").exists()
