"""What a gene name looks like."""

from __future__ import annotations

import pytest

from biolm.vocab.gene_names import ensembl_id, genome_prefix, id_species, is_blank, sample, without_suffix


@pytest.mark.parametrize(
    ("name", "ensembl"),
    [
        ("ENSG00000000003", "ENSG00000000003"),
        ("ENSG00000000003.15", "ENSG00000000003"),
        ("ENSG00000000003.15_2", "ENSG00000000003"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378"),
        ("ENSGR0000182378.8", "ENSG00000182378"),
        ("GRCh38_ENSG00000000003", "ENSG00000000003"),
        ("7SK_ENSG00000260682", "ENSG00000260682"),
        ("ensmusg00000000001.5", "ENSMUSG00000000001"),
        ("ENSG00000000003-ENSG00000000003.1", "ENSG00000000003"),
        ("ENSG00000000003-ENSG00000000005", None),
        ("ENSG0000000000", None),
        ("ENSG000000000033", None),
        ("XENSG00000000003", None),
        ("ENST00000000233", None),
        ("ENSA", None),
        ("", None),
    ],
)
def test_an_ensembl_id_is_found_inside_a_name(name: str, ensembl: str | None) -> None:
    assert ensembl_id(name) == ensembl


def test_an_ensembl_id_tells_its_species() -> None:
    assert id_species("ENSG00000000003") == "human"
    assert id_species("ENSMUSG00000000001") == "mouse"
    assert id_species("ENSRNOG00000000001") == ""


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("GRCh38_CD3D", ("human", "CD3D")),
        ("hg19_CD3D", ("human", "CD3D")),
        ("mm10___Cd3d", ("mouse", "Cd3d")),
        ("GRCm39_Cd3d", ("mouse", "Cd3d")),
        ("CD3D", None),
        ("GRCh38_", None),
        ("hg19CD3D", None),
    ],
)
def test_a_genome_prefix_is_split_off(name: str, parts: tuple[str, str] | None) -> None:
    assert genome_prefix(name) == parts


def test_a_suffix_is_dropped_only_where_the_bare_name_is_in_the_file() -> None:
    assert without_suffix("MATR3-1", {"MATR3"}) == "MATR3"
    assert without_suffix("MATR3.1", {"MATR3"}) == "MATR3"
    assert without_suffix("NKX2-1", {"MATR3"}) is None
    assert without_suffix("AC004556.1", {"AC004556.2"}) is None
    assert without_suffix("MATR3", {"MATR3"}) is None


def test_blanks_are_no_names() -> None:
    assert all(map(is_blank, ["", "nan", "NaN", "NA", "<NA>", "None"]))
    assert not is_blank("NAT1")


def test_a_sample_spreads_over_the_names_and_leaves_out_blanks() -> None:
    names = [f"G{i}" if i % 2 else "" for i in range(1000)]
    some = sample(names, 100)
    assert len(some) == len(set(some)) == 100
    assert some[0] == "G1"
    assert int(some[-1][1:]) > 950
    assert sample(names[:10], 100) == ["G1", "G3", "G5", "G7", "G9"]
