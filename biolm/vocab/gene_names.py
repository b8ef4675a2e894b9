"""What a gene name looks like, before any table is asked.

Ensembl ids are written with versions, genome prefixes and symbols around them; symbols carry genome
prefixes and the suffixes that make repeated names unique.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

__all__ = ["FOREIGN", "ensembl_id", "genome_prefix", "id_species", "is_blank", "sample", "without_suffix"]

_ENSEMBL = re.compile(r"(?<![A-Z0-9])(ENS(?:[A-Z]{3,4})?G\d{11})(?!\d)", re.IGNORECASE)
_PLAIN = re.compile(r"ENS(?:MUS)?G\d{11}")
_LEAST = len("ENSG00000000000")
_GENOMES = {
    "human": ("GRCh37", "GRCh38", "hg19", "hg38"),
    "mouse": ("GRCm38", "GRCm39", "mm9", "mm10", "mm39"),
}
_GENOME_OF = {genome.lower(): species for species, genomes in _GENOMES.items() for genome in genomes}
# Seurat writes hyphens, R dots, where 10x writes underscores.
_PREFIX = re.compile(rf"({'|'.join(_GENOME_OF)})[-_.]+(?=[A-Za-z0-9])", re.IGNORECASE)
_SUFFIX = re.compile(r"(.+)[-.]\d+$")
_BLANK = frozenset({"", "nan", "NaN", "NA", "<NA>", "None"})

FOREIGN: dict[str, str] = {
    r"ENSRNOG\d+": "Ensembl ids of rat",
    r"ENSDARG\d+": "Ensembl ids of zebrafish",
    r"ENSM(MU|FA)G\d+": "Ensembl ids of macaque",
    r"ENSSSCG\d+": "Ensembl ids of pig",
    r"ENSGALG\d+": "Ensembl ids of chicken",
    r"ENS[A-Z]{3,4}G\d+": "Ensembl ids of another species",
    r"ENS[A-Z]*[TPE]\d+": "Ensembl ids of transcripts, proteins or exons",
    r"FBgn\d+": "FlyBase ids of fruit fly",
    r"WBGene\d+": "WormBase ids",
    r"AT[1-5MC]G\d{5}": "ids of Arabidopsis",
    r"[NX][MRP]_\d+": "RefSeq ids of transcripts or proteins",
    r"\d+(\.\d+)?": "numbers (row numbers or Entrez ids)",
    r"(\d+|AFFX).*_at": "Affymetrix probe ids",
    r"ILMN_\d+|A_\d+_P\d+|cg\d{8}": "array probe ids",
    r"[ACGTN]{10,}(-\d+)?": "cell barcodes or sequences",
}
"""Names that are no human or mouse gene identifiers, as patterns of the whole name without version."""


def is_blank(name: str) -> bool:
    """Whether a name stands for no name."""
    return name in _BLANK


def ensembl_id(name: str) -> str | None:
    """The one Ensembl gene id in a name, without version; None if there is none or there are two.

    Examples
    --------
    >>> ensembl_id("ENSG00000000003.15"), ensembl_id("7SK_ENSG00000260682"), ensembl_id("ENSA")
    ('ENSG00000000003', 'ENSG00000260682', None)
    """
    if len(name) < _LEAST:
        return None
    if _PLAIN.fullmatch(name):
        return name
    # Releases before GENCODE 25 wrote ENSGR for the copy of a gene on chromosome Y.
    ids = set(_ENSEMBL.findall(name.replace("ENSGR0", "ENSG00")))
    return ids.pop().upper() if len(ids) == 1 else None


def id_species(ensembl: str) -> str:
    """``human`` or ``mouse``, or an empty string for an Ensembl id of any other species."""
    return {"ENSG": "human", "ENSMUSG": "mouse"}.get(ensembl[:-11], "")


def genome_prefix(name: str) -> tuple[str, str] | None:
    """Species and bare name of ``GRCh38_CD3D``; None without a genome prefix.

    Examples
    --------
    >>> genome_prefix("mm10___Cd3d"), genome_prefix("GRCh38---CD3D")
    (('mouse', 'Cd3d'), ('human', 'CD3D'))
    """
    match = _PREFIX.match(name)
    return (_GENOME_OF[match[1].lower()], name[match.end() :]) if match else None


def without_suffix(name: str, present: Container[str]) -> str | None:
    """The name without ``-1`` or ``.1``, if the file holds that name too.

    anndata (``-1``) and R (``.1``) add such suffixes to repeated names, so the bare name is always in
    the file; ``NKX2-1`` and ``AC004556.1`` stay whole because ``NKX2`` and ``AC004556`` are not.

    Parameters
    ----------
    name
        Of a gene.
    present
        Names of the file.
    """
    match = _SUFFIX.match(name)
    return match[1] if match and match[1] in present else None


def sample(names: Sequence[str], size: int) -> list[str]:
    """At most ``size`` names that are not blank, evenly spaced.

    Parameters
    ----------
    names
        Of genes.
    size
        Most of them.
    """
    filled = [name for name in names if name not in _BLANK]
    if len(filled) <= size:
        return filled
    return [filled[i * len(filled) // size] for i in range(size)]
