"""Shared text files, and a way to write small ones."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def data_text(shared):
    return shared / "data" / "text"


@pytest.fixture
def write(tmp_path):
    """Write a file of a test; bytes or text."""

    def made(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8", newline="")
        return path

    return made
