import errno
import json
import subprocess
import sys

import numpy as np
import pytest

from biolm.batch import Tokens
from biolm.errors import ConfigError, InputError, OutputError
from biolm.io.token_store import VOCABULARY, write_tokens
from biolm.io.tokens import SCHEMA_VERSION, TokenWriter, read_tokens, token_metadata

ENDINGS = (".parquet", ".arrow", ".feather", ".zarr")


def tokens_of(lengths, values=None, start=0, seed=0):
    """Random tokens of these lengths."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(0, 60_000, offsets[-1]).astype(np.int32)
    column = None if values is None else rng.integers(-2, 50, offsets[-1]).astype(values)
    return Tokens(ids=ids, offsets=offsets, index=np.arange(start, start + len(lengths)), values=column)


def names_of(start, stop):
    return np.array([f"cell_{number}é" for number in range(start, stop)])


def write(path, blocks, **settings):
    start = 0
    with TokenWriter(path, metadata={"model": "geneformer", "genes": {"a/b": 1}}, **settings) as writer:
        for block in blocks:
            writer.write(block, names_of(start, start + len(block)))
            start += len(block)


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("values", [None, np.int16, np.float32])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read(tmp_path, ending, values, rows):
    path = tmp_path / f"x{ending}"
    blocks = [
        tokens_of([3, 0, 5], values),
        tokens_of([0], values, 3),
        tokens_of([2, 7, 1, 0], values, 4, seed=1),
    ]
    write(path, blocks)
    parts = list(read_tokens(path, rows=rows))
    assert all(0 < len(part) <= rows for _, part in parts)
    assert np.concatenate([names for names, _ in parts]).tolist() == names_of(0, 8).tolist()
    assert np.concatenate([part.index for _, part in parts]).tolist() == list(range(8))
    assert np.concatenate([part.lengths for _, part in parts]).tolist() == [3, 0, 5, 0, 2, 7, 1, 0]
    ids = np.concatenate([part.ids for _, part in parts])
    assert ids.dtype == np.int32
    assert ids.tolist() == np.concatenate([block.ids for block in blocks]).tolist()
    if values is None:
        assert all(part.values is None for _, part in parts)
    else:
        found = np.concatenate([part.values for _, part in parts])
        assert found.dtype == values
        assert found.tolist() == np.concatenate([block.values for block in blocks]).tolist()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_the_columns_are_those_promised(tmp_path, ending):
    import pyarrow as pa
    from pyarrow import feather, parquet

    path = tmp_path / f"x{ending}"
    write(path, [tokens_of([3, 2], np.int16)])
    table = parquet.read_table(path) if ending == ".parquet" else feather.read_table(path)
    kinds = dict(zip(table.schema.names, table.schema.types, strict=True))
    assert kinds == {
        "name": pa.string(),
        "ids": pa.list_(pa.int32()),
        "values": pa.list_(pa.int16()),
        "length": pa.int32(),
    }
    assert table["length"].to_pylist() == [3, 2]
    header = json.loads(table.schema.metadata[b"biolm"])
    assert header == {"schema_version": SCHEMA_VERSION, "model": "geneformer", "genes": {"a_b": 1}}


@pytest.mark.parametrize("ending", ENDINGS)
def test_metadata_is_read_alone(tmp_path, ending):
    write(tmp_path / f"x{ending}", [tokens_of([1])])
    assert token_metadata(tmp_path / f"x{ending}") == {
        "schema_version": SCHEMA_VERSION,
        "model": "geneformer",
        "genes": {"a_b": 1},
    }


@pytest.mark.parametrize("ending", ENDINGS)
def test_same_tokens_same_bytes_whatever_the_name(tmp_path, ending):
    contents = []
    for name in ("a", "b"):
        write(tmp_path / f"{name}{ending}", [tokens_of([4, 9], np.int16)])
        files = [tmp_path / f"{name}{ending}", *sorted((tmp_path / f"{name}{ending}").rglob("*"))]
        contents.append([file.read_bytes() for file in files if file.is_file()])
    assert contents[0] == contents[1] != []


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_blocks_make_an_empty_store(tmp_path, ending):
    write(tmp_path / f"x{ending}", [])
    assert list(read_tokens(tmp_path / f"x{ending}")) == []


def test_a_part_of_a_larger_block_is_written_alone(tmp_path):
    whole = tokens_of([2, 3, 4])
    part = Tokens(ids=whole.ids, offsets=whole.offsets[1:], index=whole.index[1:])
    for ending in (".parquet", ".zarr"):
        write(tmp_path / f"x{ending}", [part])
        ((_, found),) = read_tokens(tmp_path / f"x{ending}")
        assert found.offsets.tolist() == [0, 3, 7]
        assert found.ids.tolist() == whole.ids[2:].tolist()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failure_leaves_nothing(tmp_path, ending):
    def fail():
        with TokenWriter(tmp_path / f"x{ending}", metadata={}) as writer:
            writer.write(tokens_of([3]), names_of(0, 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_existing_output_is_kept_unless_told(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    write(path, [tokens_of([3])])
    with pytest.raises(OutputError, match="exists already"):
        write(path, [tokens_of([5])])
    assert next(read_tokens(path))[1].lengths.tolist() == [3]
    write(path, [tokens_of([5])], overwrite=True)
    assert next(read_tokens(path))[1].lengths.tolist() == [5]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(self, tokens, names):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("biolm.io.token_formats.ArrowSink.append", full)
    with pytest.raises(OutputError, match="no space left"):
        write(tmp_path / "x.parquet", [tokens_of([3])])
    assert list(tmp_path.iterdir()) == []


def test_the_format_can_be_named(tmp_path):
    write(tmp_path / "tokens", [tokens_of([3])], format="parquet")
    assert (tmp_path / "tokens").read_bytes()[:4] == b"PAR1"
    with pytest.raises(ConfigError, match="csv is no format"):
        TokenWriter(tmp_path / "x", metadata={}, format="csv")
    with pytest.raises(ConfigError, match="names no format"):
        TokenWriter(tmp_path / "x.h5ad", metadata={})


def test_blocks_must_fit_each_other(tmp_path):
    with TokenWriter(tmp_path / "x.arrow", metadata={}) as writer:
        with pytest.raises(ValueError, match="2 names for 1"):
            writer.write(tokens_of([3]), names_of(0, 2))
        writer.write(tokens_of([3]), names_of(0, 1))
        with pytest.raises(ValueError, match="every block"):
            writer.write(tokens_of([3], np.int16), names_of(0, 1))
    assert [part.lengths.tolist() for _, part in read_tokens(tmp_path / "x.arrow")] == [[3]]


@pytest.mark.parametrize("ending", ENDINGS)
def test_foreign_or_broken_stores_are_refused(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    with pytest.raises(InputError, match="no such file"):
        token_metadata(path)
    if ending == ".zarr":
        path.mkdir()
    else:
        path.write_bytes(b"PAR1 not a token file")
    with pytest.raises(
        InputError, match=r"no tokens written by biolm, or is damaged|metadata cannot be read"
    ):
        token_metadata(path)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(InputError, match="no token file"):
        list(read_tokens(tmp_path / "x.txt"))


def test_tables_of_other_programs_are_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"ids": [[1, 2]]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no tokens written by biolm"):
        token_metadata(tmp_path / "x.parquet")


def test_newer_schemas_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("biolm.io.tokens.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    write(tmp_path / "x.arrow", [tokens_of([1])])
    monkeypatch.undo()
    with pytest.raises(InputError, match="update biolm"):
        token_metadata(tmp_path / "x.arrow")


def test_writing_parquet_loads_no_pandas(tmp_path):
    code = (
        "import sys, numpy as np; from biolm.batch import Tokens; from biolm.io.tokens import TokenWriter\n"
        f"with TokenWriter({str(tmp_path / 'x.parquet')!r}, metadata={{}}) as writer:\n"
        "    tokens = Tokens(ids=np.array([1], np.int32), offsets=np.array([0, 1]), index=np.array([0]))\n"
        "    writer.write(tokens, np.array(['a']))\n"
        "print({'pandas', 'torch', 'anndata', 'scanpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_old_tokens_that_do_not_tell_their_genes_join_new_ones(tmp_path):
    tokens = Tokens(ids=np.arange(4, dtype=np.int32), offsets=np.array([0, 4]), index=np.arange(1))
    facts = {"old": {}, "a": {VOCABULARY: "1"}, "b": {VOCABULARY: "2"}}
    for name, fact in facts.items():
        with TokenWriter(tmp_path / f"{name}.parquet", metadata={"model": "m", **fact}) as writer:
            writer.write(tokens, np.array(["c"]))
    files = {name: tmp_path / f"{name}.parquet" for name in facts}
    for folder, names in enumerate((["old", "a"], ["a", "old", "a"])):
        (tmp_path / str(folder)).mkdir()
        write_tokens([files[name] for name in names], tmp_path / str(folder))
    (tmp_path / "2").mkdir()
    with pytest.raises(InputError, match=r"b\.parquet holds tokens of m, .* with other genes"):
        write_tokens([files["old"], files["a"], files["b"]], tmp_path / "2")
