"""Merge shards to what the whole job would have written, to the byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, working_folder, writing
from biolm.jobs.merging import Merging
from biolm.jobs.shards import read_shards
from biolm.jobs.spool import Parts

__all__ = ["MergeSummary", "merge", "merge_shards"]

_MERGERS = {
    "vectors": "biolm.tasks.embed:merge_vectors",
    "tokens": "biolm.tasks.tokens.tokenize:merge_tokens",
    "calls": "biolm.tasks.annotate.naming:merge_calls",
    "sequence labels": "biolm.tasks.annotate.labelling:merge_labels",
    "contacts": "biolm.tasks.attention.contacts_file:merge_contacts",
    "generated": "biolm.tasks.generate.run:merge_generated",
    "mutations": "biolm.tasks.variants.assay_run:merge_assay",
    "imputed": "biolm.tasks.impute.run:merge_imputed",
    "perturbations": "biolm.tasks.perturb.file:merge_perturbations",
    "variants": "biolm.tasks.variants.vcf_run:merge_vcf",
    "neighbours": "biolm.tasks.search.query_file:merge_neighbours",
}
"""By what shards hold: the function that writes all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSummary:
    """What was merged.

    Parameters
    ----------
    output, kind
        The file; ``vectors``, ``tokens``, ``calls`` ...
    shards, rows
        How many shards there were, and their rows.
    """

    output: Path
    kind: str
    shards: int
    rows: int


def merge(shards: Sequence[str | Path], output: str | Path, **options: Any) -> Path:
    """Put all shards of a job together; the result is that of the job done at once, to the byte.

    Parameters
    ----------
    shards, output, options
        As for :func:`merge_shards`.

    Returns
    -------
    The path of ``output``.

    Examples
    --------
    >>> merge(["part1", "part2"], "cells.h5ad").name  # doctest: +SKIP
    'cells.h5ad'
    """
    return merge_shards(shards, output, **options).output


def merge_shards(
    shards: Sequence[str | Path],
    output: str | Path,
    *,
    data: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the word users know
    overwrite: bool = False,
) -> MergeSummary:
    """Put all shards of a job together; the result is that of the job done at once, to the byte.

    Parameters
    ----------
    shards
        Folders that a command wrote with ``shard``, in any order.
    output
        What the whole job would write, such as ``.h5ad``, ``.zarr``, ``.parquet`` or ``.npy`` for vectors.
    data
        The file that was read, if it was moved since.
    format
        By the ending of the output by default.
    overwrite
        Whether an existing output may be replaced.

    Raises
    ------
    InputError
        If a shard is missing, given twice, damaged or of another job, or the input changed.
    OutputError, ConfigError
        If the output cannot be written.
    """
    records, target = read_shards(shards), Path(output)
    kind = records[0].kind
    if kind not in _MERGERS:
        raise InputError(f"{records[0].path} holds {kind}, which this biolm cannot merge; update biolm")
    module, _, name = _MERGERS[kind].partition(":")
    merger = getattr(import_module(module), name)
    refuse_existing(target, overwrite=overwrite)
    # The working folder lies beside the target, where there is room for what is written.
    with writing(target), working_folder(target) as folder:
        parts = Parts.of_shards([(record.path, record.digests) for record in records], folder)
        # Shards that follow each other without a gap may still stop before the end of the job.
        missing = int(records[0].facts["blocks"]) - len(parts)
        if missing:
            raise InputError(f"the shards lack {missing} blocks of the job; make the shards again")
        rows = merger(Merging(records=records, parts=parts, target=target, data=data, form=format))
    return MergeSummary(output=target, kind=kind, shards=len(records), rows=rows)
