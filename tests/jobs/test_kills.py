"""A job that is killed before any change of a file leaves no half output, and goes on to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anndata
import pytest

import biolm
from biolm.errors import InputError, OutputError
from biolm.io.atomic import tidy
from biolm.io.locks import owning

# In one process that forks: a child dies at its n-th change of a file, another does the job again.
PROGRAM = """
import json, os, sys
import biolm
from biolm.jobs.settings import EmbedSettings
from biolm.tasks.embed import embed_file
from biolm.models.systems.genetext import load
cells, folder, name, old = sys.argv[1:]
model = load()
target = folder + "/" + name
before = sorted(os.listdir(folder))

def job(place, **more):
    embed_file(cells, place, model, EmbedSettings(block_rows=64, **more))

job(folder + "/whole." + name.rpartition(".")[2])
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}

def child(last, **more):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count = 0
    def watch(event, args):
        nonlocal count
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or (writes and folder in str(args[0])):
            count += 1
            if count == last:
                os._exit(9)
    sys.addaudithook(watch)
    try:
        job(target, **more)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)

def content(path):
    if os.path.isdir(path):
        return {p: content(os.path.join(path, p)) for p in sorted(os.listdir(path))}
    with open(path, "rb") as file:
        return file.read()

whole = content(folder + "/whole." + name.rpartition(".")[2])
died, faults = 0, []
for last in range(1, 1000):
    if old == "old":
        child(0, overwrite=True)
    status = child(last, overwrite=old == "old")
    if status == 0:
        break
    died += 1
    if status != 9:
        faults.append(f"{last}: status {status}")
    # A folder may have stepped aside for its successor: the next job puts it back.
    if os.path.exists(target) and content(target) != whole:
        faults.append(f"{last}: half an output under the final name")
    # A job that was killed in its last steps has its output, which is not replaced unasked.
    named = os.path.exists(target) and content(target) == whole
    if child(0, resume=True, overwrite=old == "old") != 0 and not named:
        faults.append(f"{last}: the job does not go on")
    if content(target) != whole:
        faults.append(f"{last}: other bytes")
    left = sorted(set(os.listdir(folder)) - set(before))
    if left != sorted([name, "whole." + name.rpartition(".")[2]]):
        faults.append(f"{last}: left behind {left}")
    import shutil
    shutil.rmtree(target) if os.path.isdir(target) else os.remove(target)
print(json.dumps({"died": died, "faults": faults}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old"), [("out.h5ad", "new")])
def test_killed_before_every_change_of_a_file(shipped_cells, tmp_path, name, old):
    folder = tmp_path / "work"
    folder.mkdir()
    program = [sys.executable, "-c", PROGRAM, str(shipped_cells / "pbmc_cite_10k.h5ad"), str(folder)]
    done = subprocess.run([*program, name, old], capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{found['died']} kills")
    assert found["died"] > 10
    assert found["faults"] == []


def test_two_jobs_on_one_output(tmp_path, shipped_cells):
    with (
        owning(tmp_path / "x.npy.partial"),
        pytest.raises(OutputError, match=r"another process works in .*x\.npy\.partial"),
    ):
        biolm.embed(shipped_cells / "pbmc_cite_10k.h5ad", output=tmp_path / "x.npy", resume=True)


@pytest.mark.parametrize("what", ["replaced", "written to"])
def test_an_input_that_changes_while_it_is_read(tmp_path, shipped_cells, monkeypatch, what):
    from biolm.models.systems.cellfactors import CellFactors

    path = tmp_path / "cells.h5ad"
    adata = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")
    adata.write_h5ad(path)
    embed = CellFactors.embed

    def changing(self, *given):
        other = adata.copy()
        other.X = other.X * 2
        if what == "replaced":
            other.write_h5ad(tmp_path / "other.h5ad")
            (tmp_path / "other.h5ad").replace(path)
        else:
            with path.open("r+b") as file:
                file.seek(-8, os.SEEK_END)
                file.write(b"\0" * 8)
        return embed(self, *given)

    monkeypatch.setattr(CellFactors, "embed", changing)
    with pytest.raises(InputError, match="changed while it was read"):
        biolm.embed(path, output=tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_what_a_killed_process_left_is_put_right(tmp_path):
    from biolm.io import atomic

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    node = atomic._node()
    (tmp_path / f".x.old-{node}-{gone.pid}").mkdir()
    (tmp_path / f".x.old-{node}-{gone.pid}" / "kept").write_text("old")
    (tmp_path / f".x.partial-{node}-{gone.pid}").write_text("half")
    (tmp_path / f".x.partial-elsewhere-{gone.pid}").write_text("of another machine")
    (tmp_path / f".x.partial-{node}-{os.getpid()}").write_text("alive")
    tidy(tmp_path / "x")
    assert (tmp_path / "x" / "kept").read_text() == "old"
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(["x", f".x.partial-elsewhere-{gone.pid}", f".x.partial-{node}-{os.getpid()}"])
