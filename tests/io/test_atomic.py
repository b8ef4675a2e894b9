from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from biolm.errors import InputError, OutputError
from biolm.io.atomic import install, refuse_existing, replacing, writing
from biolm.io.copied import copied
from biolm.io.free_space import check_free_space


def test_a_file_appears_when_it_is_whole(tmp_path):
    with replacing(tmp_path / "x.txt") as path:
        path.write_text("half")
        assert path.suffix == ".txt"
        assert path.parent == tmp_path
        assert not (tmp_path / "x.txt").exists()
        path.write_text("whole")
    assert (tmp_path / "x.txt").read_text() == "whole"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_keeps_the_old(tmp_path, error):
    (tmp_path / "x.txt").write_text("old")

    def fail():
        with replacing(tmp_path / "x.txt", overwrite=True) as path:
            path.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (tmp_path / "x.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_folders_replace_folders(tmp_path):
    target = tmp_path / "x.zarr"
    for number in range(2):
        with replacing(target, overwrite=True) as path:
            path.mkdir()
            (path / f"part{number}").write_text("")
    assert [file.name for file in target.iterdir()] == ["part1"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.zarr"]


def test_a_file_replaces_a_folder_and_the_other_way(tmp_path):
    (tmp_path / "new").write_text("file")
    (tmp_path / "target").mkdir()
    install(tmp_path / "new", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "file"


def test_existing_and_impossible_targets_are_refused(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        refuse_existing(tmp_path / "x", overwrite=False)
    refuse_existing(tmp_path / "x", overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        refuse_existing(tmp_path / "none" / "x", overwrite=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence(tmp_path, number):
    with pytest.raises(OutputError, match="no space left on the disk while writing"), writing(tmp_path / "x"):
        raise OSError(number, "full")


def test_hdf5_hides_the_number_in_its_text(tmp_path):
    text = "Can't write data (file write failed: time = now, filename = 'x', errno = 28, error message = ...)"
    with pytest.raises(OutputError, match="no space left"), writing(tmp_path / "x"):
        raise OSError(text)


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "x"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


@pytest.mark.parametrize(
    ("needed", "shown"), [(2 * 10**9, "2.0 GB"), (5 * 10**6, "5.0 MB"), (2000, "2.0 kB")]
)
def test_too_little_room_is_told_in_time(tmp_path, monkeypatch, needed, shown):
    usage = shutil.disk_usage(tmp_path)._replace(free=1500)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=rf"needs about {shown} but only 1\.5 kB are free"):
        check_free_space(tmp_path / "x", needed)
    check_free_space(tmp_path / "x", 1000)


def test_copies_are_made_anew_when_their_files_change(tmp_path):
    source, made = tmp_path / "x.txt", []

    def write(folder):
        assert not folder.exists()
        folder.mkdir()
        (folder / "copy").write_text(source.read_text())
        made.append(source.read_text())

    for text in ("one", "one", "two more"):
        if text != (made[-1] if made else ""):
            source.write_text(text)
        assert (copied([source], tmp_path / "c", write) / "copy").read_text() == text
    assert made == ["one", "two more"]
    # One that was not finished, and one by an earlier version, tell nothing of their files.
    (tmp_path / "c" / "sources.json").unlink()
    copied([source], tmp_path / "c", write)
    assert made == ["one", "two more", "two more"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda path: (path / "part").read_text(),
        lambda path: path.with_name(path.name).joinpath("a", "b").mkdir(),
        lambda path: _raise(InputError(f"{path} cannot be read; copy it again")),
        lambda path: _raise(ValueError(f"name = '{path}/x', errno = 13")),
        lambda path: path.rename(path.with_name("elsewhere")),
    ],
)
def test_an_error_names_the_output_and_not_what_is_written_first(tmp_path: Path, fail: Any) -> None:
    target = tmp_path / "out.h5ad"
    with pytest.raises((OSError, ValueError, InputError)) as caught, replacing(target) as path:
        fail(path)
    assert "partial" not in str(caught.value)
    assert str(target) in str(caught.value)
    assert not list(tmp_path.iterdir())


def _raise(error: Exception) -> None:
    raise error
