"""Perturb the cells of a file into a table, whole or a shard of the cells at a time.

Dimensions: ``n`` cells · ``e`` edits.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from biolm.errors import ConfigError, InputError
from biolm.io.cell_tables import open_table
from biolm.io.provenance import plain
from biolm.io.table import TABLES, check_table, table_endings, write_table
from biolm.jobs.bind import loaded
from biolm.jobs.cells import cells_of_shards
from biolm.jobs.job import Job, check_outputs, made_from, shard_parts, watched
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Parts
from biolm.models.model import CellModel
from biolm.tasks.perturb.measure import gathered
from biolm.tasks.perturb.run import Perturbation, Plan, Wanted
from biolm.tasks.perturb.settings import PerturbSettings

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["merge_perturbations", "perturb_file"]

SCHEMA = "biolm.perturbation/1"
KIND = "perturbations"
_RUN = ("resume", "shard", "format", "overwrite", "progress")


def perturb_file(
    data: str | Path | AnnData,
    target: Path,
    model: str | Path | CellModel,
    wanted: Wanted,
    settings: PerturbSettings,
) -> Perturbation:
    """Perturb cells block by block into a table, or do a shard of the cells into a folder.

    Parameters
    ----------
    data, model
        As of :func:`biolm.perturb`.
    target
        ``.parquet``, ``.csv`` or ``.tsv``; a folder for a shard.
    wanted
        Which genes.
    settings
        Choices of the job.

    Returns
    -------
    The result; of a shard, that of its cells alone, whose tests rest on fewer cells.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used; nothing half-written is left.
    """
    if settings.shard is None:
        check_outputs(target, table_endings(target), settings)
    else:
        check_outputs(target, tuple(f".{name}" for name in TABLES), settings)
        if isinstance(model, CellModel) or not isinstance(data, str | Path):
            raise ConfigError("a shard is merged with the file and the model; give their paths or names")
    with open_table(data, matrix=settings.matrix) as source:
        plan = Plan.of(source, data, loaded(model), wanted, settings)
        results: list[Perturbation] = []

        def finish(parts: Parts, temporary: Path) -> None:
            results.append(plan.table(gathered(parts)))
            write_table(temporary, [results[0].columns], results[0].provenance, schema=SCHEMA)

        options = {name: value for name, value in asdict(settings).items() if name not in _RUN}
        genes = str(wanted.genes) if isinstance(wanted.genes, Path) else wanted.genes
        Job(
            kind=KIND,
            same={
                "input": plan.job.same()["input"],
                "model": plan.job.facts,
                "options": options,
                "edits": plain([plan.known.title(edit) + " " + edit.kind for edit in plan.edits]),
                "provenance": plan.provenance,
            },
            facts={
                "input": made_from(data),
                "model": str(model) if isinstance(model, str | Path) else "",
                "wanted": {"delete": wanted.delete, "overexpress": wanted.overexpress, "genes": genes},
            },
            inputs=watched(source),
            ends=plan.ends,
            blocks=plan.blocks,
            compute=plan.compute,
            finish=finish,
            label="perturbing",
            unit="cells",
        ).run(target, settings)
        if settings.shard is not None:
            # For the caller alone: a shard writes blocks, and the table of its cells is what Python hands
            # back.
            results.append(plan.table(gathered(shard_parts(target))))
    return results[0]


def merge_perturbations(merging: Merging) -> int:
    """Write the table of all shards as the whole job would; how many cells were perturbed.

    Raises
    ------
    InputError
        If the cells or the model changed.
    """
    merging.refuse_form()
    check_table(merging.target, overwrite=True)
    job, metadata, recorded = merging.job, merging.facts, merging.facts["wanted"]
    settings = replace(PerturbSettings(**job["options"]), progress=False)
    genes = recorded["genes"] if isinstance(recorded["genes"], str) else tuple(recorded["genes"])
    wanted = Wanted(tuple(recorded["delete"]), tuple(recorded["overexpress"]), genes)
    with cells_of_shards(merging, settings.matrix) as source:
        plan = Plan.of(source, merging.place, loaded(metadata["model"]), wanted, settings)
        if plan.job.facts != job["model"]:
            raise InputError(
                f"the model {metadata['model']} changed since the shards were made; make them again"
            )
        result = plan.table(gathered(merging.parts))
        merging.write(
            lambda temporary: write_table(temporary, [result.columns], result.provenance, schema=SCHEMA)
        )
    return len(plan.rows)
