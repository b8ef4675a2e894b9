"""The gene table that ships with biolm."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from biolm.errors import ConfigError
from biolm.vocab.gene_table import GeneTable, gene_table
from biolm.vocab.genes import GeneVocabulary

FILES = ("human.tsv.gz", "human_names.tsv.gz", "mouse.tsv.gz", "mouse_names.tsv.gz", "orthologs.tsv.gz")


def test_known_genes_have_their_names() -> None:
    human, mouse = gene_table().species("human"), gene_table().species("mouse")
    assert human.ids["CD3D"] == ("ENSG00000167286",)
    assert human.symbol["ENSG00000167286"] == "CD3D"
    assert human.biotype["ENSG00000167286"] == "protein_coding"
    assert mouse.symbol["ENSMUSG00000032094"] == "Cd3d"
    assert human.symbol[human.aliases["SEPT6"]] == "SEPTIN6"
    assert mouse.symbol[mouse.aliases["Arntl"]] == "Bmal1"


def test_an_ambiguous_alias_is_no_alias() -> None:
    human = gene_table().species("human")
    assert {human.symbol[gene] for gene in human.ambiguous["SARS"]} >= {"SARS1"}
    assert not human.aliases.keys() & human.ambiguous.keys()
    assert not human.aliases.keys() & human.ids.keys()
    assert human.upper_aliases["SARS"] == ""


@pytest.mark.parametrize("species", ["human", "mouse"])
def test_symbols_and_ids_lead_to_each_other(species: str) -> None:
    genes = gene_table().species(species)
    assert sum(map(len, genes.ids.values())) == len(genes.symbol)
    assert all(genes.symbol[gene] == symbol for symbol, ids in genes.ids.items() for gene in ids)
    assert genes.symbol.keys() <= genes.biotype.keys()
    prefix = {"human": "ENSG", "mouse": "ENSMUSG"}[species]
    assert all(re.fullmatch(prefix + r"\d{11}", gene) for gene in genes.biotype)


def test_a_symbol_of_several_ids_has_at_most_one_main_gene() -> None:
    for species in ("human", "mouse"):
        genes = gene_table().species(species)
        mains = [sum(gene in genes.main for gene in ids) for ids in genes.ids.values() if len(ids) > 1]
        assert max(mains) == 1
        assert sum(mains) == len(genes.main)
    human = gene_table().species("human")
    assert "ENSG00000002586" in human.main  # CD99 on X; the copy on Y has an id of its own
    assert len(human.ids["CD99"]) == 2


def test_a_retired_id_is_tied_to_todays_id_of_the_symbol() -> None:
    human = gene_table().species("human")
    gene = next(gene for gene in human.ids["TXNIP"] if gene in human.retired)
    assert human.biotype[gene] == "retired"
    assert human.ids["TXNIP"][-1] == gene
    assert human.replaced[gene] == ("ENSG00000265972",)
    assert gene in human.replaced["ENSG00000265972"]


def test_orthologs_are_pairs_of_known_ids_whose_weights_add_up() -> None:
    table = gene_table()
    pairs = table.orthologs()
    assert len(pairs) > 22_000
    assert pairs == sorted(set(pairs))
    assert {human for human, _, _ in pairs} <= table.species("human").biotype.keys()
    assert {mouse for _, mouse, _ in pairs} <= table.species("mouse").biotype.keys()
    sums: Counter[str] = Counter()
    for _, mouse, weight in pairs:
        assert 0 < weight <= 1
        sums[mouse] += weight  # type: ignore[assignment]  # a counter adds floats too
    assert all(abs(total - 1) < 1e-3 for total in sums.values())
    assert table.human_to_mouse()["ENSG00000167286"] == ("ENSMUSG00000032094",)
    many = {human for human, mice in table.human_to_mouse().items() if len(mice) > 1}
    assert many
    single = table.human_to_mouse(one_to_one=True)
    assert len(single) > 15_000
    assert not many & single.keys()


# Marker genes of common mouse cell types and tissues, and genes that make up much of a cell's counts.
MARKERS = {
    "Lyz1": "LYZ", "Lyz2": "LYZ", "Tmsb10": "TMSB10", "S100a8": "S100A8", "S100a9": "S100A9", "Ccl5": "CCL5",
    "Hbb-bs": "HBB", "Hbb-bt": "HBB", "Hba-a1": "HBA1", "H2-Aa": "HLA-DQA1", "Trac": "TRAC", "Cd3d": "CD3D",
    "Ms4a1": "MS4A1", "Nkg7": "NKG7", "Cd8a": "CD8A", "Ftl1": "FTL", "Mt2": "MT2A", "Rplp0": "RPLP0",
    "Ptma": "PTMA", "Alb": "ALB", "Sftpc": "SFTPC", "Cd74": "CD74", "Ppbp": "PPBP", "Ins2": "INS",
}  # fmt: skip


@pytest.mark.parametrize("mouse", MARKERS)
def test_known_markers_have_their_ortholog(mouse: str) -> None:
    table = gene_table()
    (gene,) = table.species("mouse").ids[mouse]
    human = table.species("human").symbol
    assert MARKERS[mouse] in {human[one] for one, other, _ in table.orthologs() if other == gene}


def test_the_gene_of_the_same_name_weighs_most_among_several() -> None:
    table = gene_table()
    human, (mouse,) = table.species("human").symbol, table.species("mouse").ids["Iglc1"]
    weights = {human[one]: weight for one, other, weight in table.orthologs() if other == mouse}
    assert len(weights) > 3
    assert weights.pop("IGLC1") == pytest.approx(0.5)
    assert max(weights.values()) < 0.5


def test_mouse_genes_are_found_by_the_names_that_were_changed_with_the_human_ones() -> None:
    mouse = gene_table().species("mouse")
    old = {"Atp5b": "Atp5f1b", "Gnb2l1": "Rack1", "Sept11": "Septin11", "H2afz": "H2az1", "Arntl": "Bmal1"}
    assert {name: mouse.symbol[mouse.aliases[name]] for name in old} == old
    assert not mouse.aliases.keys() & mouse.ids.keys()


def test_a_third_species_is_refused() -> None:
    with pytest.raises(ConfigError, match="no gene table for species 'rat'"):
        gene_table().species("rat")


def test_the_table_is_small_quick_and_needs_no_table_library(repository: Path) -> None:
    assert sum((repository / "data/genes" / name).stat().st_size for name in FILES) < 3_000_000
    start = time.process_time()
    GeneTable().species("human")
    assert time.process_time() - start < 4  # 0.1 s when the machine is free
    code = (
        "import sys; from biolm.vocab.genes import gene_table as t; t().species('human'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "pyarrow", "torch", "anndata", "h5py"} & set(loaded.stdout.split())


def test_genes_that_a_model_knows_as_written_ask_for_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biolm.vocab.genes.gene_table", GeneTable)
    monkeypatch.setattr("biolm.vocab.gene_table.gzip.decompress", lambda _: pytest.fail("a table was read"))
    genes = [f"ENSG{number:011d}" for number in range(40)]
    match = GeneVocabulary.of(genes).match({"index": np.array(genes[::-1])})
    assert match.target.tolist() == list(range(40))[::-1]


def test_the_files_are_those_of_the_readme(repository: Path) -> None:
    folder = repository / "data/genes"
    listed = (folder / "README.md").read_text()
    for name in FILES:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in listed, name


def test_making_the_table_again_gives_the_same_rows(repository: Path, shared: Path, tmp_path: Path) -> None:
    folder = repository / "data/genes"
    subprocess.run([sys.executable, folder / "make.py", shared / "data", tmp_path], check=True)
    for name in FILES:
        # The compressed bytes also depend on the zlib that Python was built with.
        again, shipped = (gzip.decompress((where / name).read_bytes()) for where in (tmp_path, folder))
        assert again == shipped, name
