"""Score a table of variants of one protein, beside BLOSUM62 and measurements."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.adapters.sequences import Tally
from biolm.errors import InputError
from biolm.io.provenance import digest, stamp
from biolm.io.table import TABLES, check_table, table_endings, write_table
from biolm.jobs.job import Job, check_outputs
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Parts
from biolm.progress import progress
from biolm.tasks.variants.assay import Assay
from biolm.tasks.variants.assay_work import AssayWork, Layout
from biolm.tasks.variants.methods import MARGINALS, check_reads, choose_methods
from biolm.tasks.variants.proteins import letter_ids
from biolm.tasks.variants.settings import VariantScores, VariantSettings

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["SCHEMA", "merge_assay", "score_assay"]

KIND = "mutations"

SCHEMA = "biolm.variants/1"


def score_assay(
    assay: Assay,
    model: SequenceModel,
    settings: VariantSettings,
    output: Path | None = None,
    *,
    path: Path | None = None,
    tally: Tally | None = None,
) -> VariantScores:
    """Score every variant of a protein by every method asked for.

    Parameters
    ----------
    assay
        The variants.
    model
        A model of proteins.
    settings
        Choices of the job.
    output
        ``.csv``, ``.tsv`` or ``.parquet``: the columns of the input and the scores; a folder for a shard.
    path
        The file that the variants were read from.
    tally
        Letters of the unchanged protein that the model does not know, and what was taken out of it.

    Raises
    ------
    BiolmError
        If the model does not fit, or the output cannot be written.
    """
    check_reads(model, "protein", "a table of mutations")
    methods = choose_methods(model, settings.method)
    names = {method: f"{settings.key.lower()}_{method.replace('-', '_')}" for method in methods}
    if settings.baseline:
        names["blosum62"] = f"{settings.key.lower()}_blosum62"
    for name in names.values():
        if name in assay.columns:
            raise InputError(f"the table has a column {name} already; choose another `key`")
    if output is None:
        settings.check_in_memory()
    elif settings.shard is None:
        check_outputs(output, table_endings(output), settings)
    else:
        check_outputs(output, tuple(f".{name}" for name in TABLES), settings)
    _check_letters(assay, model, settings)
    counted = Tally() if tally is None else tally
    about = {"seed": settings.seed, "offset": settings.offset}
    layout = Layout(
        columns=tuple(assay.columns),
        names=names,
        whole=tuple(method for method in methods if method not in MARGINALS),
        seed=settings.seed,
        facts=settings.provenance(model, methods, **about, **_about(assay), **counted.as_dict()),
    )
    work = AssayWork(assay=assay, model=model, methods=methods, settings=settings)
    if output is None:
        with progress("scoring", int(work.ends[-1]), show=settings.progress, unit="steps") as advance:
            results = []
            for item in work.blocks(0, len(work.ends) - 1):
                results.append(work.compute(item))
                advance(item.last - item.first)
        return layout.gathered(results)
    finished: list[VariantScores] = []

    def finish(parts: Parts, temporary: Path) -> None:
        finished.append(layout.gathered(parts))
        write_table(temporary, [finished[0].columns], finished[0].provenance, schema=SCHEMA)

    rows = Job(
        kind=KIND,
        same={
            # A list in memory has no file to stamp; its letters tell one job from another.
            "input": {"stamp": stamp(path), **_about(assay)},
            "model": layout.facts,
            "options": {"key": settings.key, "baseline": settings.baseline, "device": settings.device},
        },
        facts={"layout": asdict(layout)},
        inputs={} if path is None else {"stamp": path},
        ends=work.ends,
        blocks=work.blocks,
        compute=work.compute,
        finish=finish,
        label="scoring",
        unit="steps",
    ).run(output, settings)
    if not finished:
        return VariantScores(
            columns={"row": np.arange(rows)}, names=(), provenance=layout.facts, output=output
        )
    return replace(finished[0], output=output)


def merge_assay(merging: Merging) -> int:
    """Write the table of all shards as the whole job would; how many variants there are."""
    merging.refuse_data("a table of mutations")
    merging.refuse_form()
    check_table(merging.target, overwrite=True)
    layout = merging.facts["layout"]
    # JSON gives lists back for tuples.
    lists = {name: tuple(layout[name]) for name in ("columns", "whole")}
    scores = Layout(**{**layout, **lists}).gathered(merging.parts)
    merging.write(
        lambda temporary: write_table(temporary, [scores.columns], scores.provenance, schema=SCHEMA)
    )
    return len(scores)


def _check_letters(assay: Assay, model: SequenceModel, settings: VariantSettings) -> None:
    """With ``--letters error`` every variant must be written in letters of the model."""
    if settings.letters != "error":
        return
    residues = sorted(set("".join(each.sequence for each in assay.variants).upper()))
    known = dict(zip(residues, letter_ids(model, residues).tolist(), strict=True))
    for each in assay.variants:
        bad = [letter for letter in each.sequence.upper() if known[letter] < 0]
        if bad:
            raise InputError(
                f"{each.where}: model {model.name} has no token for the letter {bad[0]!r}; leave the variant "
                "out, or give it no score (`letters='unknown'`)"
            )


def _about(assay: Assay) -> dict[str, Any]:
    sequences = [each.sequence for each in assay.variants]
    return {
        "variants": len(sequences),
        "protein": digest({"letters": assay.wild}),
        "sequences": digest({"letters": sequences}),
    }
