from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import anndata
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from projection import Projection, make_cells

from biolm.errors import BiolmError, ConfigError, OutputError
from biolm.jobs.settings import EmbedSettings
from biolm.tasks.embed import embed_file

HERE = Path(__file__).parent
# A job in a process of its own that waits after two blocks to be killed.
SLOW = """
import sys, time
from projection import Projection
from biolm.tasks.embed import embed_file
from biolm.jobs.settings import EmbedSettings
blocks, embed = iter([0, 0]), Projection.embed
Projection.embed = lambda *given: (time.sleep(next(blocks, 600)), embed(*given))[1]
embed_file(sys.argv[1], sys.argv[2], Projection(), EmbedSettings())
"""


def run(source, target, model=None, **settings):
    return embed_file(source, target, model or Projection(), EmbedSettings(**settings))


def expected(path: Path) -> np.ndarray:
    return anndata.read_h5ad(path).X.toarray() @ Projection().weights + 1


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_h5ad_keeps_everything_and_adds(h5ad, tmp_path):
    source = h5ad()
    summary = run(source, tmp_path / "out.h5ad")
    before, after = anndata.read_h5ad(source), anndata.read_h5ad(tmp_path / "out.h5ad")
    assert (before.X != after.X).nnz == 0
    assert after.obs.equals(before.obs)
    assert after.var.equals(before.var)
    assert set(after.obsm) == {"X_pca", "X_projection"}
    assert after.obsm["X_projection"].dtype == np.float32
    np.testing.assert_allclose(after.obsm["X_projection"], expected(source), rtol=1e-5, atol=1e-5)
    assert after.uns["biolm"]["X_projection"]["model"] == "projection"
    assert summary.cells == 100
    assert summary.width == 6
    assert left(tmp_path) == ["cells.h5ad", "out.h5ad"]


def test_same_input_and_seed_give_the_same_bytes(h5ad, tmp_path):
    source = h5ad()
    run(source, tmp_path / "a.h5ad", block_rows=16)
    run(source, tmp_path / "b.h5ad", block_rows=64)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_parquet_names_rows_that_share_a_name(h5ad, cells, tmp_path, caplog):
    names = [*cells.obs_names[:98], "twin", "twin"]
    cells.obs_names = names
    source = h5ad(cells)
    run(source, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("name").to_pylist() == names
    assert table.column("row").to_pylist() == list(range(100))
    vectors = np.array(table.column("vector").to_pylist(), np.float32)
    with pytest.warns(UserWarning, match="not unique"):
        np.testing.assert_allclose(vectors, expected(source), rtol=1e-5, atol=1e-5)
    assert json.loads(table.schema.metadata[b"biolm"])["X_projection"]["cells"] == 100
    assert "1 cell names repeat" in caplog.text


def test_npy_has_a_side_car(h5ad, tmp_path):
    source = h5ad()
    run(source, tmp_path / "out.npy")
    facts = json.loads((tmp_path / "out.npy.json").read_text())
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected(source), rtol=1e-5, atol=1e-5)
    assert facts["names"] == [f"c{row}" for row in range(100)]
    assert facts["biolm"]["model"] == "projection"
    with pytest.raises(OutputError, match="exists already"):
        run(source, tmp_path / "out.npy")
    (tmp_path / "out.npy").unlink()
    with pytest.raises(OutputError, match=r"out\.npy\.json exists already"):
        run(source, tmp_path / "out.npy")


def test_format_option_and_unknown_ending(h5ad, tmp_path):
    source = h5ad()
    assert run(source, tmp_path / "vectors", format="parquet").format == "parquet"
    assert pq.read_table(tmp_path / "vectors").num_rows == 100
    with pytest.raises(ConfigError, match=r"ending of out\.txt is not one of h5ad, zarr, parquet, npy"):
        run(source, tmp_path / "out.txt")
    with pytest.raises(ConfigError, match="format 'feather' is not one of"):
        run(source, tmp_path / "out.h5ad", format="feather")


def test_in_place_over_the_input(h5ad):
    source = h5ad()
    vectors = expected(source)
    run(source, source, overwrite=True)
    np.testing.assert_allclose(anndata.read_h5ad(source).obsm["X_projection"], vectors, rtol=1e-5, atol=1e-5)


def test_empty_cells_are_flagged_in_the_copy(h5ad, cells, tmp_path):
    counts = cells.X.toarray()
    counts[[3, 50]] = 0
    cells.X = counts
    run(h5ad(cells), tmp_path / "out.h5ad")
    after = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert np.flatnonzero(after.obs["X_projection_empty"]).tolist() == [3, 50]
    assert after.obs.columns.tolist() == ["label", "X_projection_empty"]
    assert not after.obsm["X_projection"][[3, 50]].any()


def test_a_failure_leaves_nothing(h5ad, tmp_path):
    source = h5ad()
    with pytest.raises(BiolmError, match="not finite"):
        run(source, tmp_path / "out.h5ad", Projection(broken=70))
    assert left(tmp_path) == ["cells.h5ad"]


def test_a_failure_keeps_an_older_output(h5ad, tmp_path):
    source = h5ad()
    run(source, tmp_path / "out.h5ad")
    before = (tmp_path / "out.h5ad").read_bytes()
    with pytest.raises(BiolmError, match="not finite"):
        run(source, tmp_path / "out.h5ad", Projection(broken=70), overwrite=True)
    assert (tmp_path / "out.h5ad").read_bytes() == before


# The vectors take 2,400 bytes; the last case fails while they land, the others while the output is written.
@pytest.mark.parametrize(
    ("form", "limit"),
    [("h5ad", 10_000), ("zarr", 2_405), ("parquet", 2_450), ("npy", 2_450), ("h5ad", 1_000)],
)
def test_disk_full_leaves_nothing(h5ad, tmp_path, form, limit):
    source = h5ad()
    run(source, tmp_path / "whole.npy")  # compiles what is to be compiled, which writes files too
    (tmp_path / "whole.npy").unlink()
    (tmp_path / "whole.npy.json").unlink()
    with (
        files_no_larger_than(limit),
        pytest.raises(OutputError, match="no space left on the disk while writing"),
    ):
        run(source, tmp_path / f"out.{form}")
    assert left(tmp_path) == ["cells.h5ad"]


@contextmanager
def files_no_larger_than(size: int):
    """Writing past a size fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_known_to_be_too_small_is_refused_before_the_work(h5ad, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"needs about [\d.]+ kB but only 1.0 kB are free"):
        run(h5ad(), tmp_path / "out.h5ad", Projection(delay=1000))
    assert left(tmp_path) == ["cells.h5ad"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with cells and the unfinished run of a job that was killed after some blocks."""
    folder = tmp_path_factory.mktemp("killed")
    cells = make_cells()
    cells.layers["other"] = cells.X.copy()
    cells.write_h5ad(folder / "cells.h5ad")
    command = [sys.executable, "-c", SLOW, str(folder / "cells.h5ad"), str(folder / "out.h5ad")]
    job = subprocess.Popen(command, cwd=HERE)
    landed = folder / "out.h5ad.partial"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and len(list(landed.glob("*.block"))) < 2:
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    assert left(folder) == ["cells.h5ad", "out.h5ad.partial"]
    assert 2 <= len(list(landed.glob("*.block"))) < 7
    return folder


@pytest.fixture
def unfinished(killed, tmp_path) -> Path:
    """A copy of that folder, times of change included."""
    return Path(shutil.copytree(killed, tmp_path / "job"))


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_a_killed_job_goes_on_to_the_same_bytes(unfinished, tmp_path, ending):
    source, target = unfinished / "cells.h5ad", unfinished / f"out.{ending}"
    run(source, tmp_path / f"whole.{ending}")
    (unfinished / "out.h5ad.partial").rename(unfinished / f"out.{ending}.partial")
    with pytest.raises(OutputError, match="unfinished run; go on with it"):
        run(source, target)
    run(source, target, resume=True)
    assert left(unfinished) == ["cells.h5ad", target.name]
    assert _content(target) == _content(tmp_path / f"whole.{ending}")


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_resuming_does_not_do_the_work_again(unfinished):
    class Counting(Projection):
        rows = 0

        def embed(self, block, match, options):
            Counting.rows += len(block)
            return super().embed(block, match, options)

    run(unfinished / "cells.h5ad", unfinished / "out.h5ad", Counting(), resume=True)
    assert 0 < Counting.rows <= 100 - 32


def test_a_torn_block_is_done_again(unfinished):
    source, target = unfinished / "cells.h5ad", unfinished / "out.h5ad"
    block = max((unfinished / "out.h5ad.partial").glob("*.block"))
    block.write_bytes(block.read_bytes()[:-5])
    run(source, target, resume=True)
    after = anndata.read_h5ad(target).obsm["X_projection"]
    np.testing.assert_allclose(after, expected(source), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "differs"),
    [({"seed": 1}, "options"), ({"pool": "half"}, "options"), ({"layer": "other"}, "input")],
)
def test_a_changed_job_is_not_resumed(unfinished, settings, differs):
    source, target = unfinished / "cells.h5ad", unfinished / "out.h5ad"
    with pytest.raises(OutputError, match=rf"another job \({differs} differ"):
        run(source, target, resume=True, **settings)
    run(source, target, overwrite=True, **settings)
    assert left(unfinished) == ["cells.h5ad", "out.h5ad"]


def test_a_changed_input_is_not_resumed(unfinished):
    # One value is another; size and time of change are as they were.
    source = unfinished / "cells.h5ad"
    state = source.stat()
    with h5py.File(source, "r+") as file:
        file["X/data"][3] += 1
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert source.stat().st_size == state.st_size
    with pytest.raises(OutputError, match=r"another job \(input differ"):
        run(source, unfinished / "out.h5ad", resume=True)


def test_an_input_that_was_copied_is_the_same(unfinished, tmp_path):
    """As data are copied to the disk of a node: another path, another time."""
    source = tmp_path / "elsewhere.h5ad"
    shutil.copyfile(unfinished / "cells.h5ad", source)
    os.utime(source, (1, 1))
    run(source, unfinished / "out.h5ad", resume=True)
    after = anndata.read_h5ad(unfinished / "out.h5ad").obsm["X_projection"]
    np.testing.assert_allclose(after, expected(source), rtol=1e-5, atol=1e-5)


def test_resume_without_an_unfinished_run_just_runs(h5ad, tmp_path):
    assert run(h5ad(), tmp_path / "out.h5ad", resume=True).cells == 100


def test_an_interrupted_job_keeps_what_is_done(h5ad, tmp_path):
    class Interrupted(Projection):
        def embed(self, block, match, options):
            if block.start >= 48:
                raise KeyboardInterrupt
            return super().embed(block, match, options)

    source, target = h5ad(), tmp_path / "out.h5ad"
    with pytest.raises(KeyboardInterrupt):
        run(source, target, Interrupted())
    assert left(tmp_path) == ["cells.h5ad", "out.h5ad.partial"]
    assert len(list((tmp_path / "out.h5ad.partial").glob("*.block"))) == 3
    run(source, target, resume=True)
    assert left(tmp_path) == ["cells.h5ad", "out.h5ad"]
