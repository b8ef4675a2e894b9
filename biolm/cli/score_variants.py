"""``biolm score-variants``: how likely a model of sequences finds mutations and variants."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Antibody, Letters
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Letters, Antibody):
    """Options of ``biolm score-variants``."""

    input: Annotated[
        Path,
        typer.Argument(
            help="Proteins: CSV or TSV with a column mutant, or FASTA with --mutation or --scan. DNA: VCF, "
            "or BED with --scan."
        ),
    ]
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .csv, .tsv, .parquet; a VCF: .vcf, .vcf.gz."),
    ]
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint folder or hub id, such as ESM-2.")]
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="wt-marginal, masked-marginal, pseudo-perplexity, one-pass, causal; may be repeated.",
            show_default="the model's usual",
        ),
    ] = None
    mutation: Annotated[
        list[str] | None,
        typer.Option(help="Such as A24G:K30R, of the first protein of a FASTA; may be repeated."),
    ] = None
    sequence: Annotated[
        Path | None,
        typer.Option(help="FASTA of the unchanged protein of a table.", show_default="told from the table"),
    ] = None
    assays: Annotated[
        Path | None, typer.Option(help="ProteinGym's table of assays, with target_seq.", show_default="none")
    ] = None
    reference: Annotated[
        Path | None, typer.Option(help="Genome of a VCF or BED: FASTA or a store.", show_default="none")
    ] = None
    scan: Annotated[bool, typer.Option("--scan", help="Change every place to every letter.")] = False
    picture: Annotated[
        Path | None, typer.Option(help="Heat map of a scan: .png, .svg or .pdf.", show_default="none")
    ] = None
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of a window of a protein; bases around a variant.",
            show_default="model's; 512",
        ),
    ] = None
    strands: Annotated[str, typer.Option(help="DNA: both (mean with the reverse complement) or forward.")] = (
        "both"
    )
    average: Annotated[
        bool, typer.Option("--average", help="DNA: mean over a window's tokens in place of the sum.")
    ] = False
    distances: Annotated[
        bool, typer.Option("--distances", help="DNA: also compare embeddings of both alleles.")
    ] = False
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Proteins: add BLOSUM62 beside the model.")
    ] = True
    offset: Annotated[
        int, typer.Option(help="Proteins: by how much written places exceed those of the sequence.")
    ] = 0
    key: Annotated[str, typer.Option(help="Begins the names of the new columns or fields.")] = "BIOLM"
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens packed into one batch.")] = 16_384
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto"
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32"
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted job.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")] = False


def run(chosen: Arguments) -> None:
    """Score mutations of proteins and variants of genomes.

    Adds columns to a table, or fields to the INFO of a VCF; the higher, the likelier the variant.
    """
    from biolm.tasks.variants.run import score_variants
    from biolm.tasks.variants.settings import VariantSettings

    names = {entry.name for entry in dataclasses.fields(VariantSettings)} - {"method"}
    options = {name: value for name, value in vars(chosen).items() if name in names}
    found = score_variants(
        chosen.mutation or chosen.input,
        model=chosen.reader(chosen.model),
        output=chosen.output,
        method=chosen.method or "auto",
        sequence=chosen.input if chosen.mutation else chosen.sequence,
        reference=chosen.reference,
        assays=chosen.assays,
        scan=chosen.scan,
        picture=chosen.picture,
        **options | {"progress": not chosen.quiet},
    )
    log.info("wrote %s: %s variants, %s", chosen.output, f"{len(found):,}", ", ".join(found.names))
    for name, figures in found.correlations.items():
        if not math.isfinite(figures["spearman"]):
            log.info(
                "no rank correlation of %s with DMS_score: it takes 3 variants with a score and a "
                "measurement, not all alike, and there are %d",
                name,
                figures["variants"],
            )
            continue
        log.info(
            "Spearman of %s with DMS_score: %.3f (95 %% interval %.3f to %.3f)",
            name,
            figures["spearman"],
            figures["low"],
            figures["high"],
        )
    if chosen.json:
        summary = {
            "output": str(chosen.output),
            "variants": len(found),
            "scores": found.names,
            "spearman": found.correlations,
            "biolm": found.facts,
        }
        typer.echo(json.dumps(summary, indent=1))
