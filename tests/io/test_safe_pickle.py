"""Pickles are read without running them."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import CheckpointError
from biolm.io.safe_pickle import read_gene_dictionary, read_pickle

PLAIN = {"a": [1, 2.5, True, None], "b": ("x", b"y\xff", {"z": -3}), "c": {1, 2}, "big": 10**30}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = PLAIN | {
        "scalar": np.float64(0.1),
        "small": np.float32(2.5),
        "whole": np.int64(-7),
        "yes": np.True_,
    }
    if protocol < 4:
        del value["c"]  # older protocols spell a set as a call
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    back = read_pickle(path)
    assert back == value
    assert type(back["scalar"]) is np.float64
    assert type(back["small"]) is np.float32


def test_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    # A scalar array of foreign order pickles its type with that order.
    scalar = pickle.dumps(np.float64(1.5), 2).replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>")
    path.write_bytes(scalar)
    assert read_pickle(path) == np.frombuffer(np.float64(1.5).tobytes(), ">f8")[0]


class _Hostile:
    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "x.pkl"
    for hostile in (
        _Hostile(os.system, f"touch {mark}"),
        _Hostile(os.mkdir, str(mark)),
        _Hostile(eval, f"open({str(mark)!r}, 'w')"),
        {"gene": [_Hostile(os.mkdir, str(mark))]},
    ):
        path.write_bytes(pickle.dumps(hostile, protocol))
        with pytest.raises(
            CheckpointError, match=r"asks for (posix|nt|builtins|__builtin__)\.(system|mkdir|eval)"
        ):
            read_pickle(path)
        with pytest.raises(CheckpointError, match="could run code"):
            read_gene_dictionary(path)
    assert not mark.exists()
    # The same bytes do run where pickle itself reads them: the test would notice.
    path.write_bytes(pickle.dumps(_Hostile(os.mkdir, str(mark)), protocol))
    pickle.loads(path.read_bytes())
    assert mark.exists()


def test_the_allowed_calls_cannot_be_bent(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    state = b"}X\x08\x00\x00\x00__call__NsX"
    for program, message in (
        (b"cnumpy\ndtype\n(X\x01\x00\x00\x00OtR.", None),  # an object type alone is inert
        (
            b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x01\x00\x00\x00OtRC\x08abcdefghtR.",
            "numpy type 'O'",
        ),
        (b"cnumpy\ndtype\n" + state[:-1] + b"b.", "damaged"),  # setting attributes on a stand-in
        (b"Pid\n.", "damaged"),
    ):
        path.write_bytes(program)
        if message is None:
            assert not callable(read_pickle(path))
            continue
        with pytest.raises(CheckpointError, match=message):
            read_pickle(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"not a pickle", pickle.dumps(PLAIN)[:-20]])
def test_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged pickle"):
        read_pickle(path)


def test_gene_dictionary_of_every_kind(tmp_path: Path) -> None:
    medians = {"ENSG00000000003": 1.25, "ENSG00000000005": 3}
    pickled = tmp_path / "x.pkl"
    pickled.write_bytes(pickle.dumps({gene: np.float64(value) for gene, value in medians.items()}))
    plain, zipped = tmp_path / "x.json", tmp_path / "x.json.gz"
    plain.write_text(json.dumps(medians))
    zipped.write_bytes(gzip.compress(json.dumps(medians).encode()))
    for path in (pickled, plain, zipped):
        read = read_gene_dictionary(path)
        assert read == medians
        assert list(read) == list(medians)
        assert all(type(value) in {int, float} for value in read.values())


@pytest.mark.parametrize("name", ["x.pkl", "x.json", "x.json.gz"])
def test_missing_or_no_dictionary(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(CheckpointError, match=r"no such file|holds no x"):
        read_gene_dictionary(path)
    content = json.dumps([1, 2]).encode()
    path.write_bytes(
        pickle.dumps([1, 2])
        if name.endswith("pkl")
        else gzip.compress(content)
        if name.endswith("gz")
        else content
    )
    with pytest.raises(CheckpointError, match=r"no dictionary by gene|is not a JSON object"):
        read_gene_dictionary(path)
    path.write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"damaged pickle|is not valid JSON|damaged gzip"):
        read_gene_dictionary(path)


def test_published_dictionaries_equal_their_json(shared: Path) -> None:
    genes, goldens = shared / "data" / "genes", shared / "goldens" / "geneformer_tokens"
    pairs = [(path, path.with_suffix(".json")) for path in sorted(genes.glob("*.pkl"))]
    pairs += [(path, path.with_suffix(".json.gz")) for path in sorted(goldens.glob("*.pkl"))]
    assert len(pairs) == 6
    for pickled, plain in pairs:
        assert read_gene_dictionary(pickled) == read_gene_dictionary(plain)
