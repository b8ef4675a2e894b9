"""A workflow laid out beside the shipped data, as in the checkout, where a test may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Laid:
    """A copy of a workflow and the commands to run it."""

    def __init__(self, folder: Path, repository: Path, name: str) -> None:
        self.folder = folder / "workflows" / name
        self.test = self.folder / ".test"
        self.results = self.test / "results"
        shutil.copytree(
            repository / "workflows" / name, self.folder, ignore=shutil.ignore_patterns("results")
        )
        shutil.copy(repository / "workflows" / "common.smk", folder / "workflows")
        (folder / "data").symlink_to(repository / "data")
        # The commands of this environment, and no cache of the user's.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache")}

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--directory", ".test", *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        """Run Snakemake to its end: status and what it printed."""
        running = self.start(*options)
        printed, _ = running.communicate()
        return running.returncode, printed

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a file of ``.test``; the text must be there."""
        path = self.test / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def laid(tmp_path: Path, repository: Path) -> Callable[[str], Any]:
    """Lay out a workflow by name."""
    return lambda name: Laid(tmp_path, repository, name)
