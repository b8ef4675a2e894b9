"""Files of blocks: what was written is read back, by the library too, and damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load, save

from biolm.errors import InputError
from biolm.jobs.block_file import is_whole, read_block, write_block

KINDS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)] + ["?", "f2", "f4", "f8", ">i4", ">f8"]
NUMBERS = st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(min_side=0, max_side=5)))
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.lists(st.text(LETTERS, max_size=4)).map(lambda texts: np.array(texts, object))
BLOCKS = st.dictionaries(st.sampled_from(["ids", "offsets", "names", "vectors"]), NUMBERS | TEXTS)


@given(block=BLOCKS)
@settings(max_examples=60, deadline=None)
def test_arrays_are_read_as_they_were_written(block, tmp_path_factory):
    path = tmp_path_factory.mktemp("block") / "0.block"
    write_block(path, block)
    assert is_whole(path)
    back = read_block(path)
    assert sorted(back) == sorted(block)
    for name, values in block.items():
        assert back[name].shape == values.shape
        np.testing.assert_array_equal(back[name], values)


def test_a_block_is_a_safetensors_file(tmp_path):
    block = {
        "ids": np.arange(7, dtype=np.int32),
        "vectors": np.ones((3, 2)),
        "flags": np.array([True, False]),
    }
    write_block(tmp_path / "0.block", block)
    stored = load((tmp_path / "0.block").read_bytes())
    assert {name: values.tolist() for name, values in stored.items()} == {
        name: values.tolist() for name, values in block.items()
    }
    # Folders of earlier versions hold what the library wrote.
    (tmp_path / "1.block").write_bytes(save(block))
    assert is_whole(tmp_path / "1.block")
    np.testing.assert_array_equal(read_block(tmp_path / "1.block")["ids"], block["ids"])


def test_arrays_lie_in_the_file_and_changing_them_leaves_it(tmp_path):
    path = tmp_path / "0.block"
    write_block(path, {"ids": np.arange(9, dtype=np.int32)})
    before = path.read_bytes()
    ids = read_block(path)["ids"]
    assert not ids.flags.owndata
    ids += 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_noticed(seed, tmp_path):
    path = tmp_path / "0.block"
    write_block(path, {"ids": np.arange(40, dtype=np.int32), "names": np.array(["a", "bc", ""])})
    whole, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    if seed % 2:
        path.write_bytes(whole[: rng.integers(len(whole))])
    else:
        place = int(rng.integers(len(whole)))
        whole[place] ^= int(rng.integers(1, 256))
        path.write_bytes(whole)
    # A space at the end of the head may become another space of JSON.
    assert not is_whole(path) or read_block(path)["ids"].tolist() == list(range(40))


@pytest.mark.parametrize(
    "head", [b"[]", b"{}", b'{"x": 1}', b'{"x": {"dtype": "F32", "shape": [1]}}', b"{" * 9]
)
def test_what_is_no_block_is_refused_in_one_sentence(head, tmp_path):
    path = tmp_path / "0.block"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"more")
    assert not is_whole(path)
    with pytest.raises(InputError, match=r"cannot be read .*do the job again"):
        read_block(path)
