"""Sequences, structures, variants, intervals and tables of labels."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case

from biolm.io.intervals import read_bed, read_vcf
from biolm.io.label_table import read_label_table
from biolm.io.sequences import open_sequences
from biolm.io.sequences.store import SequenceStore, build_store
from biolm.io.structures import read_chain
from biolm.tasks.annotate.gene_labels import read_gene_table
from biolm.tasks.annotate.ontology import read_ontology
from biolm.tasks.variants.assay_table import numbers_of, read_text_table

__all__ = ["CASES"]

NAMES = [f"s{number}" for number in range(12)]
FASTA = "".join(f">{name} made\nACGTACGTNNAC\nGGTTA\n" for name in NAMES)
FASTQ = "".join(f"@{name}\nACGTACGT\n+\nIIIIHHHH\n" for name in NAMES)
RECORD = """LOCUS       {name}            60 bp    DNA     linear   BCT 01-JAN-2020
DEFINITION  made.
ACCESSION   {name}
VERSION     {name}.1
FEATURES             Location/Qualifiers
     source          1..60
     CDS             join(1..12,20..31)
                     /gene="a"
                     /translation="MKKLAAAA"
ORIGIN
        1 acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt
//
"""
EMBL = """ID   {name}; SV 1; linear; genomic DNA; STD; PRO; 60 BP.
XX
AC   {name};
XX
FH   Key             Location/Qualifiers
FH
FT   CDS             1..12
FT                   /gene="a"
XX
SQ   Sequence 60 BP; 15 A; 15 C; 15 G; 15 T; 0 other;
     acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt        60
//
"""
SWISS = """ID   {name}_HUMAN              Reviewed;          20 AA.
AC   P0000{number};
DT   01-JAN-2000, integrated into UniProtKB/Swiss-Prot.
DE   RecName: Full=Made;
OS   Homo sapiens (Human).
OC   Eukaryota.
OX   NCBI_TaxID=9606;
SQ   SEQUENCE   20 AA;  2000 MW;  0123456789ABCDEF CRC64;
     MKTAYIAKQR QISFVKSHFS
//
"""
ATOM = "ATOM  {n:5d}  {atom:<3s} ALA A{place:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00"
ATOM += "           {atom[0]}\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
VCF += "".join(f"chr1\t{10 * n + 1}\trs{n}\tA\tC,AG\t.\tPASS\t.\n" for n in range(12))
BED = "track name=x\n" + "".join(f"chr1\t{10 * n}\t{10 * n + 5}\tn{n}\t0\t+\n" for n in range(12))
LABELS = "name,kind,value\n" + "".join(f"{name},k{n % 3},{n}.0\n" for n, name in enumerate(NAMES))
STRINGS = "".join(f">{name}\nHHEECC\n" for name in NAMES)
ASSAY = "mutant,DMS_score,note\n" + "".join(f'A{n}G,{n}.5,"a, b"\n' for n in range(1, 12))
OBO = "format-version: 1.2\n\n" + "".join(
    f'[Term]\nid: CL:{n}\nname: cell {n}\nsynonym: "c{n}" EXACT []\nis_a: CL:{max(n - 1, 0)} ! x\n\n'
    for n in range(9)
)


def write(path: Path, content: str) -> None:
    packed = gzip.compress(content.encode(), mtime=0)
    path.write_bytes(packed if path.suffix == ".gz" else content.encode())


def each(template: str) -> str:
    return "".join(template.format(name=f"AB{n:06d}", number=n) for n in range(4))


def pdb(path: Path) -> None:
    lines = []
    for place in range(1, 13):
        for atom, shift in (("N", 0.0), ("CA", 1.5), ("C", 2.5), ("CB", 2.0)):
            lines.append(
                ATOM.format(
                    n=len(lines) + 1,
                    atom=atom,
                    residue="ALA",
                    place=place,
                    x=3.8 * place,
                    y=shift,
                    z=shift / 2,
                )
            )
    path.write_text("".join(lines) + "TER\nEND\n")


def cif(path: Path) -> None:
    from Bio.PDB import MMCIFIO, PDBParser

    pdb(path.with_name("in.pdb"))
    made: Any = MMCIFIO()
    made.set_structure(PDBParser(QUIET=True).get_structure("x", str(path.with_name("in.pdb"))))
    made.save(str(path))


def records(path: Path, **options: Any) -> Any:
    with open_sequences(path, **options) as source:
        return [(block.names, block.descriptions, block.letters, block.offsets) for block in source.blocks()]


def chain(path: Path) -> Any:
    found = read_chain(path)
    return found.sequence, found.places, found.contacts


def labels(path: Path) -> Any:
    return dict(read_label_table(path, NAMES).columns)


def assay(path: Path) -> Any:
    table = read_text_table(path)
    return table.columns(), numbers_of(table, "DMS_score")


def ontology(path: Path) -> Any:
    found = read_ontology(path)
    return found.names, found.parents, found.synonyms


def genome(path: Path) -> None:
    write(path.with_name("in.fa"), FASTA)
    with open_sequences(path.with_name("in.fa")) as source:
        build_store([source], path)


def opened_genome(path: Path) -> Any:
    found = SequenceStore(path)
    return found.names, np.array(found.letters), found.offsets


def text(file: str, content: str, read: Any) -> Case:
    return Case(file=file, make=partial(write, content=content), read=read)


CASES = {
    "FASTA": text("x.fa", FASTA, records),
    "FASTA gzip": text("x.fa.gz", FASTA, records),
    "FASTQ": text("x.fq", FASTQ, records),
    "FASTQ gzip": text("x.fq.gz", FASTQ, records),
    "GenBank": text("x.gb", each(RECORD), records),
    "GenBank features": text("x.gb", each(RECORD), partial(records, features="CDS", translate=True)),
    "EMBL": text("x.embl", each(EMBL), records),
    "Swiss-Prot": text("x.dat", each(SWISS), records),
    "PDB": Case(file="x.pdb", make=pdb, read=chain),
    "mmCIF": Case(file="x.cif", make=cif, read=chain),
    "VCF": text("x.vcf", VCF, lambda path: [repr(each) for each in read_vcf(path)]),
    "VCF gzip": text("x.vcf.gz", VCF, lambda path: [repr(each) for each in read_vcf(path)]),
    "BED": text("x.bed", BED, lambda path: [repr(each) for each in read_bed(path)]),
    "label table": text("x.csv", LABELS, labels),
    "label table gzip": text("x.csv.gz", LABELS, labels),
    "strings of labels": text("x.txt", STRINGS, labels),
    "assay": text("x.csv", ASSAY, assay),
    "gene labels": text("x.csv", LABELS, lambda path: read_gene_table(path, "kind")),
    "ontology": text("x.obo", OBO, ontology),
    "genome": Case(file="x", make=genome, read=opened_genome, own=True),
}
