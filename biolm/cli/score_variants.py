"""``biolm score-variants``: how likely a model of sequences finds mutations and variants."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Antibody, Letters
from biolm.options import Option
from biolm.progress import log

__all__ = ["Arguments", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Letters, Antibody):
    """Options of ``biolm score-variants``."""

    input: Annotated[
        Path,
        Option(
            help="Proteins: CSV or TSV with a column mutant, or FASTA with --mutation or --scan. DNA: VCF, "
            "or BED with --scan.",
            argument=True,
            panel="Input",
        ),
    ]
    output: Annotated[
        Path,
        Option(
            help="File to write: .csv, .tsv, .parquet; a VCF: .vcf, .vcf.gz.",
            flags=("--output", "-o"),
            panel="Output",
        ),
    ]
    model: Annotated[
        str,
        Option(help="Checkpoint folder or hub id, such as ESM-2.", flags=("--model", "-m"), panel="Model"),
    ]
    method: Annotated[
        list[str] | None,
        Option(
            help="wt-marginal, masked-marginal, pseudo-perplexity, one-pass, causal; may be repeated.",
            shown="the model's usual",
        ),
    ] = None
    mutation: Annotated[
        list[str] | None,
        Option(help="Such as A24G:K30R, of the first protein of a FASTA; may be repeated."),
    ] = None
    sequence: Annotated[
        Path | None,
        Option(help="FASTA of the unchanged protein of a table.", shown="told from the table"),
    ] = None
    assays: Annotated[
        Path | None, Option(help="ProteinGym's table of assays, with target_seq.", shown="none")
    ] = None
    reference: Annotated[
        Path | None, Option(help="Genome of a VCF or BED: FASTA or a store.", shown="none")
    ] = None
    scan: Annotated[bool, Option(help="Change every place to every letter.")] = False
    picture: Annotated[
        Path | None, Option(help="Heat map of a scan: .png, .svg or .pdf.", shown="none", panel="Output")
    ] = None
    window: Annotated[
        int | None,
        Option(help="Tokens of a window of a protein; bases around a variant.", min=1, shown="model's; 512"),
    ] = None
    strands: Annotated[str, Option(help="DNA: both (mean with the reverse complement) or forward.")] = "both"
    average: Annotated[bool, Option(help="DNA: mean over a window's tokens in place of the sum.")] = False
    distances: Annotated[bool, Option(help="DNA: also compare embeddings of both alleles.")] = False
    baseline: Annotated[bool, Option(help="Proteins: add BLOSUM62 beside the model.")] = True
    offset: Annotated[
        int, Option(help="Proteins: by how much written places exceed those of the sequence.")
    ] = 0
    key: Annotated[str, Option(help="Begins the names of the new columns or fields.", panel="Output")] = (
        "BIOLM"
    )
    batch_tokens: Annotated[int, Option(help="Tokens packed into one batch.", min=1, panel="Run")] = 16_384
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1, mps ...", panel="Run")] = "auto"
    precision: Annotated[str, Option(help="float32, bfloat16 or float16.", panel="Model")] = "float32"
    seed: Annotated[int, Option(help="Seed of the bootstrap.", min=0, panel="Run")] = 0
    resume: Annotated[bool, Option(help="Go on with an interrupted job.", panel="Run")] = False
    shard: Annotated[
        str | None,
        Option(
            help="VCF: do part i of n, such as 2/7, into a folder for biolm merge.", shown="all", panel="Run"
        ),
    ] = None
    overwrite: Annotated[bool, Option(help="Replace an existing output.", panel="Output")] = False
    json: Annotated[bool, Option(help="Print a summary as JSON on stdout.", panel="Output")] = False


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
