"""Tables of results: each with its own JSON file, and cells as they are."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import OutputError
from biolm.io import atomic
from biolm.io.atomic import replacing, replacing_all
from biolm.io.system import exchange
from biolm.io.table import side_car, write_table

COLUMNS = {"name": np.array(["a", "=1+2"]), "value": np.array([1.5, np.nan])}


def test_tables_of_one_name_keep_their_own_facts(tmp_path: Path) -> None:
    for ending in ("csv", "tsv"):
        write_table(tmp_path / f"n.{ending}", [COLUMNS], {"kind": ending}, schema="x/1")
    facts = [json.loads(side_car(tmp_path / f"n.{ending}").read_text()) for ending in ("csv", "tsv")]
    assert [each["biolm"]["kind"] for each in facts] == ["csv", "tsv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "n.csv", "n.csv.json", "n.tsv", "n.tsv.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "said"), [(["=a", "@b", "-", "-1.5", "+x"], 3), (["a", "b=1", "", "-", "+2"], 0)]
)
def test_cells_like_formulas_stay_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], said: int
) -> None:
    with caplog.at_level("WARNING", "biolm"):
        write_table(tmp_path / "n.tsv", [{"name": np.array(names)}], {}, schema="x/1")
    assert (tmp_path / "n.tsv").read_text().split("\n")[1:-1] == [name or '""' for name in names]
    assert (f"{said} cells begin as formulas do" in caplog.text) == bool(said)


def test_what_was_complete_gets_its_name_after_a_kill(tmp_path: Path) -> None:
    target = tmp_path / "n.tsv"
    write_table(target, [COLUMNS], {"old": True}, schema="x/1")
    ready = tmp_path / f".n.tsv.ready-{atomic._node()}-{2**22 + 1}"  # no process has that number
    ready.mkdir()
    (ready / "n.tsv").write_text("new")
    (ready / "n.tsv.json").write_text("facts")
    with pytest.raises(OutputError, match="exists already"), replacing(target):
        pass
    assert (target.read_text(), side_car(target).read_text()) == ("new", "facts")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("fails", [True, False])
def test_files_that_belong_together_all_appear_or_none(tmp_path: Path, *, fails: bool) -> None:
    (tmp_path / "mine.txt").write_text("kept")

    def write() -> None:
        with replacing_all(tmp_path / "page.html") as made:
            (made / "plot.svg").write_text("plot")
            (made / "page.html").write_text("page")
            if fails:
                raise ValueError("no")

    with pytest.raises(ValueError, match="no") if fails else nullcontext():
        write()
    names = ["mine.txt"] if fails else ["mine.txt", "page.html", "plot.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_names_are_swapped_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("the system cannot")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
