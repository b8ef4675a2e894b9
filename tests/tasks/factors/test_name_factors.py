"""Names of factors: planted terms are found, noise is not named, and what cannot be named is refused."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.errors import ConfigError
from biolm.models.systems.cellfactors import CellFactors, load
from biolm.tasks.factors.names import name_factors
from biolm.vocab.processes import processes


@pytest.fixture(scope="module")
def model() -> CellFactors:
    return load()


def planted(model: CellFactors, name: str, sign: int) -> CellFactors:
    """Two factors of noise, the second with a term's genes at one end."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(len(model.rows), 2)).astype(np.float32)
    genes = next(process.genes for process in processes() if process.name == name)
    ids = np.array([model.vocabulary.genes[row] for row in model.rows])
    loadings[np.isin(ids, genes), 1] += 6 * sign
    return replace(model, loadings=loadings)


@pytest.mark.parametrize(("sign", "side"), [(1, "+"), (-1, "-")])
def test_a_planted_term_is_found_on_its_side_and_noise_is_not_named(
    model: CellFactors, sign: int, side: str
) -> None:
    # Among the many terms that share the planted genes, some of noise are allowed at a rate of 5 %.
    columns = name_factors(planted(model, "B cell receptor signaling pathway", sign), max_fdr=1e-3).columns
    named = columns["term"] != ""
    assert {(int(f), s) for f, s in zip(columns["factor"][named], columns["side"][named], strict=True)} == {
        (2, side)
    }
    assert "B cell receptor signaling pathway" in columns["name"][named]
    assert (columns["fdr"][named] <= 1e-3).all()
    assert (columns["p_value"][named] <= columns["fdr"][named]).all()
    assert len(columns["factor"]) == named.sum() + 3
    assert len(set(columns["genes"][named])) == 1


def test_noise_is_not_named(model: CellFactors) -> None:
    loadings = np.random.default_rng(1).normal(size=(len(model.rows), 20)).astype(np.float32)
    columns = name_factors(replace(model, loadings=loadings)).columns
    assert len(columns["term"]) == 40
    assert (columns["term"] == "").all()


def test_genes_are_those_of_largest_loading(model: CellFactors) -> None:
    loadings = np.zeros((len(model.rows), 1), np.float32)
    loadings[:3, 0] = (5, 3, 4)
    loadings[-2:, 0] = (-2, -6)
    columns = name_factors(replace(model, loadings=loadings), shown=2, max_fdr=0).columns
    symbols = name_factors(replace(model, loadings=-loadings), shown=2, max_fdr=0).columns
    assert columns["side"].tolist() == ["+", "-"]
    assert columns["genes"].tolist() == symbols["genes"].tolist()[::-1]
    assert all(len(genes.split()) == 2 for genes in columns["genes"])


def test_the_command_writes_a_page_and_tables(tmp_path: Path) -> None:
    for name in ("f.html", "f.tsv", "f.parquet"):
        ran = CliRunner().invoke(app, ["name-factors", "-o", str(tmp_path / name), "--max-fdr", "0.01"])
        assert ran.exit_code == 0, ran.output
    page = (tmp_path / "f.html").read_text()
    assert "Factors of cellfactors" in page
    assert "B cell receptor signaling pathway" in page
    rows = list(csv.DictReader((tmp_path / "f.tsv").open(), delimiter="\t"))
    assert {row["factor"] for row in rows} == {str(n) for n in range(1, 65)}
    assert all(float(row["fdr"]) <= 0.01 for row in rows if row["term"])
    ran = CliRunner().invoke(app, ["name-factors", "-o", str(tmp_path / "f.html")])
    assert "exists" in ran.output


def test_what_has_no_factors_is_refused(model: CellFactors, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model genetext has no factors to name; choose cellfactors"):
        name_factors("genetext")
    few = replace(model, rows=model.rows[:60], loadings=model.loadings[:60], noise=model.noise[:60],
                  means=model.means[:60])  # fmt: skip
    with pytest.raises(ConfigError, match="have an annotation, too few to test 50"):
        name_factors(few)
    with pytest.raises(ConfigError, match="`top` must be at least 5"):
        name_factors(model, top=1)
    ran = CliRunner().invoke(app, ["name-factors", "-o", str(tmp_path / "f.doc")])
    assert "use an ending among .parquet, .tsv, .csv" in ran.output


def test_the_table_of_processes_is_made_again(shared: Path, repository: Path, tmp_path: Path) -> None:
    folder = repository / "data/go"
    spec = importlib.util.spec_from_file_location("make_go", folder / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.main(shared / "data", tmp_path)
    texts = [gzip.decompress((at / make.FILE).read_bytes()) for at in (folder, tmp_path)]
    assert texts[0] == texts[1]
    noted = re.search(r"sha256 of the text `([0-9a-f]{64})`", (folder / "README.md").read_text())
    assert noted is not None
    assert noted[1] == hashlib.sha256(texts[0]).hexdigest()
    assert len(processes()) == 5158
