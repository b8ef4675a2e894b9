from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.io import provenance
from biolm.io.provenance import digest, plain, stamp


def test_plain_holds_strings_numbers_and_dicts_only():
    facts = {
        "b": np.float32(0.5),
        "a/b": np.array(["x", "y"]),
        "none": None,
        "deep": {"list": [1, 2], "none": None, "flag": np.bool_(True)},
        "other": object,
    }
    assert plain(facts) == {
        "a_b": "x, y", "b": 0.5, "deep": {"flag": True, "list": "1, 2"}, "other": "<class 'object'>",
    }  # fmt: skip
    assert list(plain({"b": 1, "a": 2})) == ["a", "b"]
    assert plain(json.loads(json.dumps(plain(facts)))) == plain(facts)


def test_digest_sees_every_value():
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": {"b": 1}}) != digest({"a": {"c": 1}})
    assert digest({"a": np.array(["x"])}) == digest({"a": ["x"]})


FILES = st.dictionaries(st.sampled_from(["a", "b", "deep/c"]), st.binary(max_size=300), min_size=1)


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1, 1))
    return folder


@given(files=FILES, others=FILES)
def test_a_stamp_tells_contents_and_not_places(
    files: dict[str, bytes], others: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "stamps"
    first = stamp(laid(root / "first", files))
    assert stamp(laid(root / "copied" / "elsewhere", files)) == first
    assert (stamp(laid(root / "first", others)) == first) == (files == others)


def test_a_stamp_of_a_large_file_reads_pieces_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_WHOLE", 4096), ("_PIECE", 512), ("_LEAST", 64)):
        monkeypatch.setattr(provenance, name, value)
    content = bytearray(100_000)
    path = tmp_path / "large"

    def stamped() -> str:
        path.write_bytes(content)
        return stamp(path)

    before = stamped()
    for place in (0, 400, 99_999):
        content[place] = 1
        assert stamped() != before
        content[place] = 0
    content += b"0"
    assert stamped() != before
