"""Genes of real files found in two published vocabularies."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from biolm.errors import GeneMatchError
from biolm.io.cells import open_cells
from biolm.vocab.gene_resolver import GeneResolver, Step
from biolm.vocab.genes import GeneVocabulary, gene_table
from biolm.vocab.match import MatchReport

# Least share of a file's genes found in Geneformer V1 (Ensembl ids) and in scGPT (symbols).
HUMAN = {
    "cells/breast_tumour_302": (0.568, 0.682),
    "cells/hsmm_80": (0.655, 0.823),
    "cells/human_cell_lines_hashing_2000": (0.666, 0.782),
    "cells/human_lung_lines_mixology": (0.722, 0.920),
    "cells/human_lung_tumour_merfish_3177": (0.991, 0.999),
    "cells/kang_ctrl_2511genes": (0.991, 0.994),
    "cells/kang_ctrl_5donors": (0.993, 0.994),
    "cells/kang_ctrl_stim": (0.960, 0.980),
    "cells/pancreas_baron_hm_350": (0.992, 0.997),
    "cells/pbmc3k_2638": (0.875, 0.923),
    "cells/pbmc68k_reduced_counts_700": (0.964, 0.984),
    "cells/pbmc_3chemistries_1500": (0.768, 0.865),
    "cells/pbmc_celltypist_559": (0.591, 0.671),
    "cells/pbmc_cite_10k": (0.810, 0.867),
    "cells/pbmc_donor_a_2896": (0.868, 0.918),
    "cells/zheng_purified_2007": (0.949, 0.974),
    "cells_resampled/cellxgene_220": (0.807, 0.906),
    "cells_resampled/scp1884": (0.829, 0.886),
}
MOUSE = (
    "cells/mouse_brain_nuclei_droplets",
    "cells/mouse_cortex_zeisel_1464",
    "cells/mouse_embryo_902",
    "cells/mouse_esc_klein",
    "cells/mouse_pancreas_baron1",
    "cells/paul15_mouse_2660",
    "spatial/squidpy_mouse_brain/test_data",
)

Columns = dict[str, NDArray[np.str_]]


@pytest.fixture(scope="module")
def vocabularies(shared: Path) -> dict[str, GeneVocabulary]:
    folder = shared / "data/genes"
    tokens = json.loads((folder / "geneformer_v1_token_dictionary.json").read_text())
    symbols = json.loads((folder / "scgpt_default_gene_vocab.json").read_text())
    return {
        "geneformer": GeneVocabulary.of([name for name in tokens if not name.startswith("<")]),
        "scgpt": GeneVocabulary.of(sorted(symbols, key=symbols.get)),
    }


def gene_columns(shared: Path, name: str) -> Columns:
    with open_cells(shared / "data" / f"{name}.h5ad") as cells:
        return cells.gene_columns()


def test_every_file_has_an_expectation(shared: Path) -> None:
    folders = ("cells", "cells_resampled")
    found = {f"{f}/{path.stem}" for f in folders for path in (shared / "data" / f).glob("*.h5ad")}
    assert found == HUMAN.keys() | {name for name in MOUSE if name.startswith("cells")}


@pytest.mark.parametrize("name", HUMAN)
def test_a_human_file_is_found(shared: Path, vocabularies: dict[str, GeneVocabulary], name: str) -> None:
    columns = gene_columns(shared, name)
    for vocabulary, least in zip(vocabularies.values(), HUMAN[name], strict=True):
        match = vocabulary.match(columns)
        report = match.report
        assert report.share >= least
        assert (report.species, report.note) == ("human", "")
        assert len(match.target) == report.total
        ways = report.exact + report.via_version + report.via_symbol + report.via_alias + report.via_case
        ways += report.via_rewritten
        assert ways == report.matched == report.total - len(report.ambiguous) - len(report.missing)
        assert len(set(match.target[match.target >= 0])) == report.vocabulary_found


@pytest.mark.parametrize("name", MOUSE)
def test_a_mouse_file_is_refused_by_a_human_model_and_found_by_a_mouse_model(
    shared: Path, vocabularies: dict[str, GeneVocabulary], name: str
) -> None:
    columns = gene_columns(shared, name)
    mouse = GeneVocabulary.of(list(gene_table().ensembl_to_symbol("mouse")))
    assert mouse.match(columns).report.share > 0.94
    for kept in (columns, {"index": columns["index"]}, {"index": np.char.upper(columns["index"])}):
        for vocabulary in vocabularies.values():
            with pytest.raises(GeneMatchError, match=r"look like mouse (genes|symbols in upper case)"):
                vocabulary.match(kept)
        assert mouse.match(kept).report.share > 0.85


def test_human_files_are_refused_by_a_mouse_model(shared: Path) -> None:
    mouse = GeneVocabulary.of(list(gene_table().ensembl_to_symbol("mouse")))
    for name in ("cells/kang_ctrl_5donors", "cells/pbmc68k_reduced_counts_700"):
        index = gene_columns(shared, name)["index"]
        for names in (index, np.char.lower(index)):
            with pytest.raises(GeneMatchError, match="look like human genes"):
                mouse.match({"index": names})


def without_aliases(vocabulary: GeneVocabulary, names: list[str]) -> int:
    genes = gene_table().species("human")
    resolver = GeneResolver(
        {name: row for row, name in enumerate(vocabulary.genes)}, vocabulary.kind, "human", genes
    )
    return sum(resolver.find(name, ())[1] in (Step.EXACT, Step.VERSION, Step.SYMBOL) for name in names)


@pytest.mark.parametrize(("vocabulary", "gained"), [("geneformer", 1600), ("scgpt", 2400)])
def test_aliases_help_a_file_of_old_symbols(
    shared: Path, vocabularies: dict[str, GeneVocabulary], vocabulary: str, gained: int
) -> None:
    columns = gene_columns(shared, "cells/pbmc_celltypist_559")
    report = vocabularies[vocabulary].match(columns).report
    assert report.column == "index"
    assert report.matched - without_aliases(vocabularies[vocabulary], columns["index"].tolist()) >= gained


def ambiguous_names(shared: Path) -> Iterator[str]:
    """Names that NCBI flags, and that are no current symbol of GENCODE."""
    current = gene_table().species("human").ids
    with gzip.open(shared / "data/genes/human_alias.tsv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            flagged = "1" in (row["alias_is_ambiguous"], row["alias_is_another_genes_symbol"])
            if flagged and row["alias"] not in current:
                yield row["alias"]


def test_no_ambiguous_alias_is_ever_used(shared: Path, vocabularies: dict[str, GeneVocabulary]) -> None:
    flagged = set(ambiguous_names(shared))
    assert len(flagged) > 3000
    for vocabulary in vocabularies.values():
        names = sorted(flagged - set(vocabulary.genes))
        match = vocabulary.match({"index": np.array(["CD3D", *names])}, species="human", minimum=0.0)
        assert match.report.vocabulary_found == match.report.matched == 1
        assert len(match.report.ambiguous) > 1000


def test_symbols_and_ids_of_one_file_lead_to_the_same_genes(
    shared: Path, vocabularies: dict[str, GeneVocabulary]
) -> None:
    columns = gene_columns(shared, "cells/hsmm_80")  # ids of GENCODE 17 with versions, from the source
    vocabulary = vocabularies["geneformer"]
    by_id = vocabulary.match(columns, column="source_id").target
    by_symbol = vocabulary.match(columns, column="gene_symbol_source").target
    both = (by_id >= 0) & (by_symbol >= 0)
    assert both.sum() > 14_000
    assert (by_id == by_symbol)[both].mean() > 0.985


def test_an_ensembl_version_changes_nothing_but_its_count(
    shared: Path, vocabularies: dict[str, GeneVocabulary]
) -> None:
    columns = gene_columns(shared, "cells/kang_ctrl_stim")
    ids = columns["ensembl_id"]
    dotted = np.char.add(ids, np.where(np.char.startswith(ids, "ENSG"), ".7", ""))
    plain = vocabularies["geneformer"].match({"index": ids})
    versioned = vocabularies["geneformer"].match({"index": dotted})
    assert np.array_equal(plain.target, versioned.target)
    assert counts(versioned.report, exact=0, via_version=plain.report.exact) == counts(versioned.report)
    assert plain.report.exact > 8000


def counts(report: MatchReport, **changed: int) -> tuple[int, ...]:
    report = replace(report, **changed)
    return report.exact, report.via_version, report.via_symbol, report.via_alias, report.via_case


def test_a_file_of_36000_genes_is_matched_quickly(
    shared: Path, vocabularies: dict[str, GeneVocabulary]
) -> None:
    columns = gene_columns(shared, "cells/pbmc_celltypist_559")
    names = np.concatenate([columns["index"], np.char.add(columns["index"][:3214], "_x")])
    vocabularies["geneformer"].match({"index": names[:100]})
    start = time.process_time()
    report = vocabularies["geneformer"].match({"index": names}).report
    assert time.process_time() - start < 5  # 0.2 s when the machine is free
    assert report.total == 36_000
