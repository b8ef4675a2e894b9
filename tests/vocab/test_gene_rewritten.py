"""Names that R and spreadsheets rewrote, and ids that belong to other rows."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import GeneMatchError
from biolm.io.cells import open_cells
from biolm.vocab.gene_rewritten import r_name
from biolm.vocab.genes import GeneVocabulary, gene_table
from biolm.vocab.match import GeneMatch
from biolm.vocab.union import GeneUnion

HUMAN, MOUSE = gene_table().species("human"), gene_table().species("mouse")
ENSEMBL = GeneVocabulary.of([*HUMAN.symbol], species=("human",))
SYMBOL = GeneVocabulary(tuple(HUMAN.ids), "symbol", ("human",))
# One of the two genes that each date below can mean.
FEW = GeneVocabulary(("MARCHF1", "MARCHF2", "SEPTIN2", "DELEC1"), "symbol", ("human",))
# Symbols of one gene each that R rewrites to what is no other gene's name (KRTAP10.9 is an alias).
REWRITTEN = sorted(
    name
    for name, ids in HUMAN.ids.items()
    if len(ids) == 1 and r_name(name) != name and r_name(name) not in HUMAN.aliases
)
PAIRS = sorted((ids[0], name) for name, ids in HUMAN.ids.items() if len(ids) == 1)


def named(vocabulary: GeneVocabulary, *names: str, species: str = "human") -> GeneMatch:
    return vocabulary.match({"index": np.array(names)}, minimum=0, species=species)


@given(st.lists(st.sampled_from(REWRITTEN), min_size=1, max_size=20, unique_by=r_name))
@pytest.mark.parametrize("vocabulary", [ENSEMBL, SYMBOL], ids=["ids", "symbols"])
def test_a_name_that_r_rewrote_is_found_or_left_alone(vocabulary: GeneVocabulary, symbols: list[str]) -> None:
    plain = named(vocabulary, "CD3D", *symbols)
    rewritten = named(vocabulary, "CD3D", *map(r_name, symbols))
    found = rewritten.target >= 0
    assert (rewritten.target == plain.target)[found].all()
    assert rewritten.report.matched + len(rewritten.report.ambiguous) + len(rewritten.report.missing) == len(
        found
    )


@pytest.mark.parametrize("vocabulary", [ENSEMBL, SYMBOL], ids=["ids", "symbols"])
def test_a_name_that_ends_like_a_repeated_one_is_itself(vocabulary: GeneVocabulary) -> None:
    plain, rewritten = (named(vocabulary, f"IGHV3{x}33", f"IGHV3{x}33{x}2") for x in "-.")
    assert rewritten.target.tolist() == plain.target.tolist()
    assert len(set(plain.target.tolist())) == 2


def test_nearly_every_name_that_r_rewrote_is_found() -> None:
    match = named(ENSEMBL, *map(r_name, REWRITTEN))
    assert match.report.share > 0.98
    assert match.report.via_rewritten > 0.9 * len(REWRITTEN)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("HLA.A", "HLA-A"),
        ("MT.CO1", "MT-CO1"),
        ("3-Sep", "SEPTIN3"),
        ("Sep-03", "SEPTIN3"),
        ("03-sep", "SEPTIN3"),
        ("X3.Sep", "SEPTIN3"),
        ("2021-09-03", "SEPTIN3"),
        ("2021-09-03 00:00:00", "SEPTIN3"),
        ("5-Mar", "MARCHF5"),
        ("15-Sep", "SELENOF"),
    ],
)
def test_a_rewritten_name_is_read_back(name: str, symbol: str) -> None:
    match = named(ENSEMBL, name)
    assert HUMAN.symbol[ENSEMBL.genes[match.target[0]]] == symbol
    assert match.report.via_rewritten == 1
    assert named(SYMBOL, name).target[0] == SYMBOL.genes.index(symbol)


@pytest.mark.parametrize("name", ["1-Mar", "2-Mar", "2-Sep", "1-Dec", "Mar-01"])
def test_a_date_of_two_genes_is_left_out_even_where_one_of_them_is_known(name: str) -> None:
    for vocabulary in (ENSEMBL, SYMBOL, FEW):
        match = named(vocabulary, name, "MARCHF1")
        assert match.target[0] == -1
        assert match.report.ambiguous == (name,)
        assert match.report.via_rewritten == 0


def test_mouse_names_are_read_back_too() -> None:
    vocabulary = GeneVocabulary.of(list(MOUSE.symbol), species=("mouse",))
    match = named(vocabulary, "H2.K1", "mt.Co1", "4-Sep", "Rps12.ps3", species="mouse")
    found = [MOUSE.symbol[vocabulary.genes[row]] for row in match.target]
    assert found == ["H2-K1", "mt-Co1", "Septin4", "Rps12-ps3"]


@pytest.mark.parametrize("prefix", ["GRCh38_", "GRCh38___", "GRCh38---", "GRCh38-", "GRCh38...", "hg19-"])
def test_a_genome_prefix_is_dropped_however_it_was_joined(prefix: str) -> None:
    assert named(ENSEMBL, f"{prefix}CD3D").target[0] == named(ENSEMBL, "CD3D").target[0]


def test_a_dotted_name_without_the_gene_table_is_read_back_from_the_vocabulary() -> None:
    vocabulary = GeneVocabulary(("HLA-A", "G1"), "symbol", ())
    assert vocabulary.match({"index": np.array(["HLA.A", "G1"])}).target.tolist() == [0, 1]


def test_a_table_that_r_wrote_is_matched_like_the_whole_one(shared: Path) -> None:
    found = []
    for name in ("names_whole.csv", "names_by_R.csv"):
        with open_cells(shared / "data/awkward/cells" / name) as source:
            found.append(ENSEMBL.match(source.gene_columns()))
    assert found[0].report.via_rewritten == 0
    assert found[1].report.via_rewritten > 10
    lost = (found[1].target < 0) & (found[0].target >= 0)
    assert lost.sum() <= 2
    assert (found[0].target == found[1].target)[~lost].all()


def shuffled_ids(share: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Symbols with ids, of which a share stands in other rows."""
    rng = random.Random(seed)
    pairs = rng.sample(PAIRS, 400)
    ids = [gene for gene, _ in pairs]
    moved = round(share * len(ids))
    ids[:moved] = ids[1:moved] + ids[:1] if moved > 1 else ids[:moved]
    return {"index": np.array([name for _, name in pairs]), "gene_ids": np.array(ids)}


@given(st.floats(0.52, 1), st.integers(0, 100))
def test_ids_of_other_rows_are_refused(share: float, seed: int) -> None:
    columns = shuffled_ids(share, seed)
    with pytest.raises(GeneMatchError, match=r"'(index|gene_ids)' name different genes in \d+% of the rows"):
        ENSEMBL.match(columns)
    chosen = ENSEMBL.match(columns, column="index")
    assert "name different genes" in chosen.report.note
    assert chosen.report.column == "index"


@given(st.floats(0.06, 0.48), st.integers(0, 100))
def test_some_ids_of_other_rows_are_noted(share: float, seed: int) -> None:
    assert "name different genes" in ENSEMBL.match(shuffled_ids(share, seed)).report.note


@given(st.floats(0, 0.04), st.integers(0, 100))
def test_what_real_files_differ_by_is_not_noted(share: float, seed: int) -> None:
    assert ENSEMBL.match(shuffled_ids(share, seed)).report.note == ""


def test_a_second_column_of_symbols_of_other_genes_is_no_reason_to_refuse() -> None:
    columns = shuffled_ids(0)
    columns["neighbour"] = np.roll(columns["index"], 1)
    assert ENSEMBL.match(columns).report.note == ""


def test_a_file_whose_ids_are_shifted_by_one_row_is_refused(shared: Path) -> None:
    with open_cells(shared / "data/awkward/cells/ids_shifted_one_row.h5ad") as source:
        columns = source.gene_columns()
    with pytest.raises(GeneMatchError, match="name different genes in 100% of the rows"):
        ENSEMBL.match(columns)
    assert ENSEMBL.match(columns, column="index").report.share > 0.9
    with pytest.raises(GeneMatchError, match="name different genes in 100% of the rows"):
        GeneUnion().add(columns)
    named = GeneUnion(column="index")
    named.add(columns)
    assert len(named.names()) == len(columns["index"])
