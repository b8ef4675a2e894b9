"""Genes of a file found in a vocabulary: every step, the choice of column, the species, the refusals."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from biolm.errors import ConfigError, GeneMatchError, InputError
from biolm.vocab.genes import GeneVocabulary, gene_table
from biolm.vocab.match import GeneMatch, MatchReport

HUMAN = gene_table().species("human")
MOUSE = gene_table().species("mouse")
SYMBOLS = ("CD3D", "MS4A1", "SEPTIN6", "CD99", "HLA-A", "NKX2-1", "TXNIP", "MT-ND3", "LINC00115", "C1orf21")
MAIN = {
    symbol: next((g for g in HUMAN.ids[symbol] if g in HUMAN.main), HUMAN.ids[symbol][0])
    for symbol in HUMAN.ids
}
ENSEMBL = GeneVocabulary.of([MAIN[symbol] for symbol in SYMBOLS])
SYMBOL = GeneVocabulary(SYMBOLS, "symbol", ("human",))


def column(names: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    return {"index": np.array(names, dtype=np.str_)}


def match_one(vocabulary: GeneVocabulary, *names: str) -> tuple[GeneMatch, MatchReport]:
    """A match of some names, beside names that make the species plain."""
    match = vocabulary.match(column([*names, "HLA-B", "ZNF2"]), minimum=0.0, species="human")
    return match, match.report


def test_kind_and_species_are_read_from_the_names() -> None:
    assert ENSEMBL.kind == "ensembl"
    assert ENSEMBL.species == ("human",)
    both = GeneVocabulary.of([HUMAN.ids["CD3D"][0], MOUSE.ids["Cd3d"][0]])
    assert both.species == ("human", "mouse")
    assert GeneVocabulary.of(list(HUMAN.ids)[:500]).species == ("human",)
    assert GeneVocabulary.of(list(MOUSE.ids)[:500]).species == ("mouse",)
    assert GeneVocabulary.of(list(MOUSE.ids)[:500]).kind == "symbol"
    assert GeneVocabulary.of(["G1", "G2"]).species == ()


def test_an_impossible_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="'CD3D' twice"):
        GeneVocabulary.of(["CD3D", "CD3D"])
    with pytest.raises(ConfigError, match="at least one"):
        GeneVocabulary.of([])
    with pytest.raises(ConfigError, match="of human, mouse or both"):
        GeneVocabulary(("CD3D",), "symbol", ("rat",))


@pytest.mark.parametrize(
    ("name", "symbol", "way"),
    [
        (MAIN["CD3D"], "CD3D", "exact"),
        (MAIN["CD3D"] + ".12", "CD3D", "via_version"),
        (MAIN["CD99"] + ".12_PAR_Y", "CD99", "via_version"),
        ("CD3D_" + MAIN["CD3D"], "CD3D", "via_version"),
        ("GRCh38_" + MAIN["CD3D"], "CD3D", "via_version"),
        (MAIN["CD3D"].lower(), "CD3D", "via_case"),
        ("CD3D", "CD3D", "via_symbol"),
        ("CD99", "CD99", "via_symbol"),
        ("hg19_CD3D", "CD3D", "via_symbol"),
        ("SEPT6", "SEPTIN6", "via_alias"),
        ("GRCh38_SEPT6", "SEPTIN6", "via_alias"),
        (HUMAN.ids["TXNIP"][-1], "TXNIP", "via_alias"),
        ("cd3d", "CD3D", "via_case"),
        ("Sept6", "SEPTIN6", "via_case"),
    ],
)
def test_each_rung_of_a_vocabulary_of_ids(name: str, symbol: str, way: str) -> None:
    match, report = match_one(ENSEMBL, name)
    assert ENSEMBL.genes[match.target[0]] == MAIN[symbol]
    assert getattr(report, way) == report.matched == 1


@pytest.mark.parametrize(
    ("name", "symbol", "way"),
    [
        ("CD3D", "CD3D", "exact"),
        (MAIN["CD3D"], "CD3D", "via_symbol"),
        (MAIN["CD3D"] + ".12", "CD3D", "via_symbol"),
        ("hg19_CD3D", "CD3D", "via_version"),
        ("SEPT6", "SEPTIN6", "via_alias"),
        ("c1orf21", "C1orf21", "via_case"),
        ("C1ORF21", "C1orf21", "via_case"),
    ],
)
def test_each_rung_of_a_vocabulary_of_symbols(name: str, symbol: str, way: str) -> None:
    match, report = match_one(SYMBOL, name)
    assert SYMBOL.genes[match.target[0]] == symbol
    assert getattr(report, way) == report.matched == 1


def test_an_old_vocabulary_knows_new_symbols() -> None:
    old = GeneVocabulary(("SEPT6", "CD3D"), "symbol", ("human",))
    match, report = match_one(old, "SEPTIN6", MAIN["SEPTIN6"])
    assert match.target[:2].tolist() == [0, 0]
    assert (report.via_symbol, report.summed) == (2, 1)


def test_an_ambiguous_alias_is_reported_and_never_used() -> None:
    # GARS was the symbol of GARS1 and is an alias of GART.
    candidates = [gene for gene in HUMAN.ambiguous["GARS"] if gene in HUMAN.symbol]
    for gene in candidates:
        vocabulary = GeneVocabulary.of([gene, MAIN["CD3D"]])
        for name in ("GARS", "gars", "hg19_GARS"):
            match, report = match_one(vocabulary, name, "CD3D")
            assert match.target[0] == -1
            assert report.ambiguous == (name,)
    assert len(candidates) > 1


def test_a_name_means_its_current_gene_even_where_that_gene_is_not_in_the_vocabulary() -> None:
    # NAA38 is a gene today and was the symbol of LSM8 in GENCODE 17.
    match, report = match_one(GeneVocabulary.of([MAIN["LSM8"], MAIN["CD3D"]]), "NAA38", "CD3D")
    assert match.target[0] == -1
    assert "NAA38" in report.missing


def test_a_symbol_of_several_ids_means_the_main_gene() -> None:
    twin = next(gene for gene in HUMAN.ids["CD99"] if gene not in HUMAN.main)
    vocabulary = GeneVocabulary.of([twin, MAIN["CD99"], MAIN["CD3D"]])
    assert match_one(vocabulary, "CD99")[0].target[0] == 1
    assert match_one(vocabulary, twin)[0].target[0] == 0
    rna = [gene for gene in HUMAN.ids["Y_RNA"] if gene not in HUMAN.main][:3]
    match, report = match_one(GeneVocabulary.of(rna), rna[1], "Y_RNA")
    assert match.target[:2].tolist() == [1, -1]
    assert report.ambiguous == ("Y_RNA",)


def test_suffixes_of_repeated_names_are_dropped_and_true_names_kept() -> None:
    match, report = match_one(ENSEMBL, "CD3D", "CD3D-1", "CD3D.2", "NKX2-1", "MS4A1-1")
    assert match.target[:5].tolist() == [0, 0, 0, ENSEMBL.genes.index(MAIN["NKX2-1"]), -1]
    assert report.summed == 2
    assert match.has_duplicates


def test_the_report_counts_every_gene_once() -> None:
    names = ["CD3D", "SEPT6", "GARS", "", "nothing", MAIN["CD3D"], "ms4a1"]
    match = GeneVocabulary.of([*ENSEMBL.genes, *HUMAN.ambiguous["GARS"]]).match(
        column(names), species="human"
    )
    report = match.report
    assert report.total == 7
    assert report.matched == (match.target >= 0).sum() == 4
    assert (report.exact, report.via_symbol, report.via_alias, report.via_case) == (1, 1, 1, 1)
    assert report.ambiguous == ("GARS",)
    assert report.missing == ("", "nothing")
    assert (report.vocabulary_found, report.summed) == (3, 1)
    assert report.as_dict()["missing"] == 2
    assert all(isinstance(value, str | int | float) for value in report.as_dict().values())


def test_the_threshold_is_on_the_smaller_of_file_and_vocabulary() -> None:
    panel = ENSEMBL.match(column(["CD3D", "MS4A1", "HLA-A"])).report
    assert panel.coverage == 1.0
    wide = ENSEMBL.match(column([*SYMBOLS, *(f"ZNF{i}" for i in range(1000))])).report
    assert wide.share < 0.02
    assert wide.coverage == 1.0


def test_the_best_column_is_found_and_can_be_overridden() -> None:
    n = len(SYMBOLS)
    columns = column([str(i) for i in range(n)]) | {
        "feature_type": np.array(["Gene Expression"] * n),
        "feature_name": np.array(SYMBOLS),
        "gene_ids": np.array([MAIN[symbol] + ".3" for symbol in SYMBOLS]),
    }
    assert ENSEMBL.match(columns).report.column == "gene_ids"
    assert SYMBOL.match(columns).report.column == "feature_name"
    assert ENSEMBL.match(columns, column="feature_name").report.column == "feature_name"
    with pytest.raises(GeneMatchError, match=r"column 'gene_ids' would match 100%; name that one"):
        ENSEMBL.match(columns, column="index")
    with pytest.raises(InputError, match="no gene column 'zzz'; the file has index, feature_type"):
        ENSEMBL.match(columns, column="zzz")


def test_a_fuller_column_wins_over_half_empty_ids() -> None:
    ids = [MAIN[symbol] if i % 2 else "" for i, symbol in enumerate(SYMBOLS)]
    assert ENSEMBL.match(column(SYMBOLS) | {"ensembl_id": np.array(ids)}).report.column == "index"


@pytest.mark.parametrize("upper", [False, True])
def test_mouse_genes_are_not_taken_for_human(upper: bool) -> None:
    names = [name for name in MOUSE.ids if name.upper() in HUMAN.ids][:200]
    names += [name for name in MOUSE.ids if name.upper() not in HUMAN.upper_ids][:20]
    if upper:
        names = [name.upper() for name in names]
    human = GeneVocabulary.of([ids[0] for ids in HUMAN.ids.values()])
    mouse = GeneVocabulary.of([ids[0] for ids in MOUSE.ids.values()])
    reason = "mouse symbols in upper case" if upper else "mouse genes"
    with pytest.raises(GeneMatchError, match=f"look like {reason} and the model knows human"):
        human.match(column(names))
    assert human.match(column(names), species="human").report.matched >= 180
    report = mouse.match(column(names)).report
    assert (report.species, report.note) == ("mouse", "")
    assert report.coverage > 0.95
    two = GeneVocabulary.of(human.genes + mouse.genes).match(column(names)).report
    assert (two.species, two.matched, two.vocabulary_total) == ("mouse", report.matched, len(mouse))


def test_human_genes_are_not_taken_for_mouse() -> None:
    mouse = GeneVocabulary.of([ids[0] for ids in MOUSE.ids.values()])
    with pytest.raises(GeneMatchError, match="look like human genes and the model knows mouse"):
        mouse.match(column([name for name in HUMAN.ids if name.startswith(("ZNF", "HLA", "RPL"))]))


def test_names_that_both_species_have_are_taken_as_human_and_said_so() -> None:
    report = ENSEMBL.match(column(["CD3D", "MS4A1"])).report
    assert report.matched == 2
    assert report.note == "the names do not tell the species; taken as human"
    assert ENSEMBL.match(column(["CD3D", "MS4A1"]), species="human").report.note == ""


def test_symbols_of_a_third_species_are_refused_by_their_ids() -> None:
    rat = {"ids": np.array([f"ENSRNOG{i:011d}" for i in range(len(SYMBOLS))])}
    with pytest.raises(GeneMatchError, match="look like Ensembl ids of rat and the model knows human"):
        ENSEMBL.match(column([name.capitalize() for name in SYMBOLS]) | rat)


def test_ids_of_two_species_need_no_majority() -> None:
    names = [MAIN["CD3D"], *(MOUSE.ids[name][0] for name in ("Cd3d", "Cd19", "Lyz1"))]
    assert ENSEMBL.match(column(names)).target.tolist() == [0, -1, -1, -1]


def test_a_genome_prefix_keeps_species_apart() -> None:
    names = ["hg19_CD3D", "mm10_CD3D", "hg19_HLA-A", "hg19_MS4A1"]
    assert (ENSEMBL.match(column(names)).target >= 0).tolist() == [True, False, True, True]


def test_a_vocabulary_of_unknown_species_is_matched_without_the_table() -> None:
    vocabulary = GeneVocabulary(("G1", "g2", "CD3D", "cd3d"), "symbol")
    match = vocabulary.match(column(["G1", "G2", "Cd3D", "SEPT6", "cd3d"]))
    assert match.target.tolist() == [0, 1, -1, -1, 3]
    assert match.report.ambiguous == ("Cd3D",)
    assert match.report.species == ""


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([f"ENSRNOG{i:011d}" for i in range(50)], "Ensembl ids of rat"),
        ([f"ENSDARG{i:011d}.2" for i in range(50)], "Ensembl ids of zebrafish"),
        ([f"ENST{i:011d}" for i in range(50)], "Ensembl ids of transcripts"),
        ([str(i) for i in range(50)], "numbers"),
        ([f"{i}_at" for i in range(50)], "Affymetrix probe ids"),
        ([f"ILMN_{i}" for i in range(50)], "array probe ids"),
        (["ACGTACGTACGTACGA-1"] * 50, "cell barcodes"),
        (["", "nan"] * 25, "its names are empty"),
        ([f"locus{i}" for i in range(50)], "names such as 'locus0', 'locus16', 'locus33' are not its genes"),
    ],
)
def test_a_refusal_names_the_likely_reason(names: list[str], reason: str) -> None:
    with pytest.raises(GeneMatchError, match=reason) as error:
        ENSEMBL.match(column(names))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("only 0 of 50 genes (column 'index')")


def test_no_genes_and_an_unknown_species_are_refused() -> None:
    with pytest.raises(InputError, match="no genes"):
        ENSEMBL.match(column([]))
    with pytest.raises(InputError, match="no genes"):
        ENSEMBL.match({})
    with pytest.raises(ConfigError, match="'rat' is not known"):
        ENSEMBL.match(column(["CD3D"]), species="rat")


def test_a_vocabulary_travels_to_a_worker_without_its_lookups() -> None:
    vocabulary = GeneVocabulary.of(ENSEMBL.genes)
    before = len(pickle.dumps(vocabulary))
    vocabulary.match(column(SYMBOLS))
    assert len(pickle.dumps(vocabulary)) == before
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary


def test_matching_36000_names_is_quick() -> None:
    names = [*HUMAN.ids, *HUMAN.aliases][:36_000]
    vocabulary = GeneVocabulary.of(list(HUMAN.symbol)[:25_000])
    vocabulary.match(column(names[:10]), species="human")
    start = time.process_time()
    match = vocabulary.match(column(names))
    assert time.process_time() - start < 5  # 0.2 s when the machine is free
    assert match.report.matched > 20_000


@pytest.mark.parametrize(("said", "ids"), [("human", "mouse"), ("mouse", "human")])
def test_a_species_that_the_ids_contradict_is_refused(said, ids):
    genes = {"human": [f"ENSG{number:011d}" for number in range(40)]}
    genes["mouse"] = [f"ENSMUSG{number:011d}" for number in range(40)]
    both = GeneVocabulary.of(genes["human"] + genes["mouse"])
    columns = column(genes[ids])
    with pytest.raises(GeneMatchError, match=f"species '{said}' was given, .* holds ids of {ids}"):
        both.match(columns, species=said)
    assert both.match(columns, species=ids).report.species == ids
    assert both.match(columns).report.species == ids
