"""Name a part of a file's cells into a folder, and merge such parts.

Dimensions: ``n`` cells of the part · ``c`` classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError, InputError
from biolm.io.anndata.result import write_store
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.cells import CellSource, open_cells
from biolm.jobs.shards import Shard, ShardRecord, input_facts, write_record
from biolm.models.model import CellModel
from biolm.tasks.annotate.annotator import Annotator, load_annotator
from biolm.tasks.annotate.calls import Judged
from biolm.tasks.annotate.predict import additions, judged, keys, rolled
from biolm.tasks.annotate.settings import PredictSettings

__all__ = ["KIND", "merge_calls", "predict_shard"]

KIND = "calls"
_FILE = "calls.safetensors"


def predict_shard(
    path: str | Path,
    output: str | Path,
    annotator: str | Path | Annotator,
    settings: PredictSettings,
    model: str | Path | CellModel | None = None,
) -> None:
    """Write the probabilities of a part of the cells to the folder ``output``, for ``biolm merge``.

    Parameters
    ----------
    path, annotator, settings, model
        As for :func:`~biolm.tasks.annotate.predict.predict_file`; the annotator as a folder, since merging
        reads it again.

    Raises
    ------
    BiolmError
        If input, annotator or output cannot be used; nothing half-written is left.
    """
    from safetensors.numpy import save_file

    target = Path(output)
    if target.suffix in (".h5ad", ".zarr"):
        raise ConfigError(f"a shard is a folder, not a {target.suffix} file; merging writes that")
    if isinstance(annotator, Annotator) or isinstance(model, CellModel):
        raise ConfigError("a shard is merged with the annotator of a folder; save it and give the folder")
    refuse_existing(target, overwrite=settings.overwrite)
    used, shard = load_annotator(annotator, model), Shard.parse(str(settings.shard))
    coarse = rolled(used, settings)
    with open_cells(path, matrix=settings.matrix) as source:
        added = additions(used, settings, Judged.nothing(used), coarse)
        added.check_free(dict.fromkeys(source.obs_columns()), {}, overwrite=settings.overwrite)
        found = judged(source, used, settings, shard)
        job = {
            "input": input_facts(source),
            "annotator": _digest(Path(annotator)),
            "key": keys(used, settings)[0],
            "options": {
                "reject": settings.reject,
                "coarse": coarse,
                "device": settings.device,
                "precision": settings.precision,
                "seed": settings.seed,
                "gene_column": settings.gene_column,
                "species": settings.species,
                "block_rows": settings.block_rows or used.model.block_rows,
            },
        }
    facts = {
        "input": str(Path(path).resolve()),
        "annotator": str(Path(annotator).resolve()),
        "model": None if model is None else str(model),
    }
    with replacing(target, overwrite=settings.overwrite) as folder:
        folder.mkdir()
        held = {str(n): part for n, part in enumerate(found.probabilities)}
        save_file(held | {"strange": found.strange, "empty": found.empty}, folder / _FILE)
        write_record(folder, shard, KIND, job, facts)


def merge_calls(
    source: CellSource, records: Sequence[ShardRecord], target: Path, form: str, *, overwrite: bool
) -> int:
    """Write the names of all cells as the whole job would; how many cells there are.

    Parameters
    ----------
    source
        The cells that the shards were made from.
    records
        All shards, in order.
    target, form
        What is written: ``h5ad`` or ``zarr``.

    Raises
    ------
    InputError
        If the annotator changed, or rows are missing.
    """
    if form not in ("h5ad", "zarr"):
        raise ConfigError(f"names of cells are written as h5ad or zarr, not as {form}")
    job, facts = records[0].job, records[0].facts
    folder = Path(facts["annotator"])
    annotator = load_annotator(folder, facts["model"])
    if _digest(folder) != job["annotator"]:
        raise InputError(f"the annotator {folder} changed since the shards were made; make the shards again")
    settings = replace(PredictSettings(key=job["key"]), reject=job["options"]["reject"])
    parts = [_read(record.path) for record in records]
    heads = range(len(annotator.heads))
    found = Judged.joined(
        [Judged([part[str(n)] for n in heads], part["strange"], part["empty"]) for part in parts]
    )
    rows = len(found.empty)
    if rows != source.n_cells:
        raise InputError(f"the shards hold {rows} rows of {source.n_cells}; make the shards again")
    added = additions(annotator, settings, found, job["options"]["coarse"])
    with replacing(target, overwrite=overwrite) as made:
        write_store(source, made, form, added)
    return rows


def _read(folder: Path) -> dict[str, Any]:
    """Probabilities of one shard."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(folder / _FILE))
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {folder / _FILE} ({error}); make the shard again") from error


def _digest(folder: Path) -> str:
    """What tells one annotator from another: the bytes of its files but the page."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
