"""``biolm score-variants``: how likely a model of sequences finds mutations and variants."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import PROTEIN_MODEL, Antibody, print_json
from biolm.common_options import Json, input_argument, output_option, picture_option
from biolm.errors import ConfigError
from biolm.options import Option, chosen_options
from biolm.progress import log
from biolm.tasks.variants.settings import VariantSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(VariantSettings, Antibody):
    """Options of ``biolm score-variants``: those of the job, and what is read and written."""

    input: Annotated[
        Path,
        input_argument(
            "Proteins: CSV or TSV with a column mutant, or FASTA with --mutation or --scan. DNA: VCF, "
            "or BED with --scan."
        ),
    ]
    output: Annotated[Path, output_option("File to write: .csv, .tsv, .parquet; a VCF: .vcf, .vcf.gz.")]
    model: Annotated[str, PROTEIN_MODEL]
    mutation: Annotated[
        list[str] | None, Option(help="Such as A24G:K30R, of the first protein of a FASTA; may be repeated.")
    ] = None
    sequence: Annotated[
        Path | None,
        Option(help="FASTA of the unchanged protein of a table.", shown="inferred from the table"),
    ] = None
    assays: Annotated[
        Path | None, Option(help="ProteinGym's table of assays, with target_seq.", shown="none")
    ] = None
    reference: Annotated[
        Path | None, Option(help="Genome of a VCF or BED: FASTA or a store.", shown="none")
    ] = None
    scan: Annotated[bool, Option(help="Change every place to every letter.")] = False
    picture: Annotated[Path | None, picture_option("Heat map of a scan: .png, .svg or .pdf.")] = None
    json: Json = False


def run(chosen: Arguments) -> None:
    """Score mutations of proteins and variants of genomes.

    Adds columns to a table, or fields to the INFO of a VCF; the higher, the likelier the variant.
    """
    from biolm.tasks.variants.run import score_variants

    if chosen.mutation and chosen.sequence is not None:
        raise ConfigError("`mutation` is of the first protein of the input; leave `sequence` out")
    scores = score_variants(
        chosen.mutation or chosen.input,
        model=chosen.reader(chosen.model),
        output=chosen.output,
        sequence=chosen.input if chosen.mutation else chosen.sequence,
        reference=chosen.reference,
        assays=chosen.assays,
        scan=chosen.scan,
        picture=chosen.picture,
        **chosen_options(chosen, VariantSettings) | {"progress": not chosen.quiet},
    )
    if chosen.shard is None:
        log.info("wrote %s: %s variants, %s", chosen.output, f"{len(scores):,}", ", ".join(scores.names))
    else:
        log.info("wrote %s: part %s", chosen.output, chosen.shard)
    for name, figures in scores.correlations.items():
        # NaN would be printed as a result.
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
            "variants": len(scores),
            "scores": scores.names,
            "spearman": scores.correlations,
            "biolm": scores.provenance,
        }
        print_json(summary)
