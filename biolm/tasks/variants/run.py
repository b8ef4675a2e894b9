"""Score variants of proteins and genomes: one function for every kind of input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError
from biolm.io.sequences import is_sequence_file
from biolm.options import read_options, refuse_unused
from biolm.tasks.variants.settings import (
    INTERVAL_SCAN,
    LIST,
    PROTEIN_SCAN,
    TABLE,
    VCF,
    VariantScores,
    VariantSettings,
)

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["score_variants"]


def score_variants(
    data: str | Path | Sequence[str],
    *,
    model: str | Path | SequenceModel,
    output: str | Path | None = None,
    method: str | Sequence[str] = "auto",
    sequence: str | Path | None = None,
    reference: str | Path | None = None,
    assays: str | Path | None = None,
    scan: bool = False,
    picture: str | Path | None = None,
    **options: Any,
) -> VariantScores:
    """Score variants by how likely a model of sequences finds them.

    Parameters
    ----------
    data
        Proteins: mutations such as ``["A24G:K30R"]``, or a table of them (CSV or TSV, as ProteinGym's).
        DNA: a VCF. For a scan: a protein as FASTA, or intervals of a genome as BED.
    model
        Name, folder or loaded model.
    output
        File to write: ``.csv``, ``.tsv`` or ``.parquet``; for a VCF ``.vcf`` or ``.vcf.gz``.
    method
        ``wt-marginal``, ``masked-marginal``, ``pseudo-perplexity``, ``one-pass`` or ``causal``; several for a
        table. ``auto`` is the masked marginal of an encoder and the likelihood of a decoder.
    sequence
        The unchanged protein: letters, or a sequence file whose first record it is.
    reference
        The genome: FASTA or a store.
    assays
        ProteinGym's table of assays, in place of ``sequence``.
    scan
        Change every place to every letter.
    picture
        Scans: where to draw a heat map (``.png``, ``.svg``, ``.pdf``).
    options
        Fields of :class:`~biolm.tasks.variants.settings.VariantSettings`.

    Returns
    -------
    Scores with the columns of the input; ``.frame()`` is a table of pandas.

    Raises
    ------
    BiolmError
        If data, model or output cannot be used; the line is named.

    Examples
    --------
    >>> found = biolm.score_variants(["A24G"], model="esm2", sequence="protein.fasta")  # doctest: +SKIP
    >>> found.frame()  # doctest: +SKIP
    """
    from biolm.jobs.bind import sequence_model

    methods = (method,) if isinstance(method, str) else tuple(method)
    settings: VariantSettings = read_options(
        VariantSettings, {"method": methods, **options}, "score-variants"
    )
    target = None if output is None else Path(output)
    drawn = None if picture is None else Path(picture)
    kind = _kind(data, scan=scan)
    # Before the model is loaded: an option out of place is noticed in a second.
    refuse_unused(settings, kind)
    _check(kind, sequence=sequence, reference=reference, assays=assays, picture=picture)
    reader = sequence_model(model)
    if kind == VCF:
        from biolm.tasks.variants.vcf_run import score_vcf

        assert reference is not None
        assert isinstance(data, str | Path)
        return score_vcf(data, reference, reader, settings, target)
    if kind in (PROTEIN_SCAN, INTERVAL_SCAN):
        from biolm.tasks.variants.scan import scan_intervals, scan_protein

        assert isinstance(data, str | Path)
        if kind == PROTEIN_SCAN:
            return scan_protein(data, reader, settings, target, drawn)
        assert reference is not None
        return scan_intervals(data, reference, reader, settings, target, drawn)
    from biolm.tasks.variants.assay import Assay, read_assay
    from biolm.tasks.variants.assay_run import score_assay
    from biolm.tasks.variants.letters import readable_protein

    wild = None if sequence is None else _wild(sequence)
    tally = Tally()

    def clean(text: str) -> str:
        return readable_protein(text, reader, settings, tally)

    if isinstance(data, str | Path):
        assay = read_assay(data, wild, assays, offset=settings.offset, clean=clean)
    else:
        assert wild is not None
        assay = Assay.of(clean(wild), data, offset=settings.offset)
    path = Path(data) if isinstance(data, str | Path) else None
    return score_assay(assay, reader, settings, target, path=path, tally=tally)


def _kind(data: str | Path | Sequence[str], *, scan: bool) -> str:
    """What is scored, as messages name it."""
    if not isinstance(data, str | Path):
        if scan:
            raise ConfigError("a scan reads a protein as FASTA or intervals as BED; give such a file")
        return LIST
    name = str(data).lower().removesuffix(".gz").removesuffix(".bgz")
    if scan:
        if name.endswith(".bed"):
            return INTERVAL_SCAN
        if is_sequence_file(data):
            return PROTEIN_SCAN
        raise ConfigError(f"a scan reads a protein as FASTA or intervals as BED, not {data}")
    if name.endswith(".vcf"):
        return VCF
    if is_sequence_file(data):
        raise ConfigError(
            f"{data} holds sequences but no variants; ask for a scan (`scan=True`) or name mutations"
        )
    return TABLE


def _check(kind: str, **given: object) -> None:
    """Refuse arguments that the input has no use for, and ask for those that it needs."""
    needs = {VCF: ("reference",), INTERVAL_SCAN: ("reference",), LIST: ("sequence",)}.get(kind, ())
    takes = {
        TABLE: ("sequence", "assays"),
        PROTEIN_SCAN: ("picture",),
        INTERVAL_SCAN: ("picture",),
    }.get(kind, ())
    for name, value in given.items():
        if name in needs and value is None:
            what = "the genome" if name == "reference" else "the protein"
            raise ConfigError(f"{kind} needs {what}; give `{name}`")
        if value is not None and name not in (*needs, *takes):
            raise ConfigError(f"`{name}` means nothing for {kind}; leave it out")
    if given["sequence"] is not None and given["assays"] is not None:
        raise ConfigError("`sequence` and `assays` both name the unchanged protein; give one")


def _wild(sequence: str | Path) -> str:
    """Letters, or those of the first record of a file."""
    from biolm.tasks.variants.assay import read_protein

    text = str(sequence)
    bare = text.translate(dict.fromkeys(map(ord, "*-.")))
    # A file may be named like a protein (MKT), so one that exists is read.
    if isinstance(sequence, str) and bare.isalpha() and not Path(text).exists():
        return text.upper()
    return read_protein(sequence)[1]
