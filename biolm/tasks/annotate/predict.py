"""Name the rows of a query: in memory, into a file, or a shard at a time.

Dimensions: ``n`` rows: cells, sequences ... · ``c`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import CheckpointError, ConfigError
from biolm.io.provenance import plain
from biolm.jobs.job import Job, check_outputs, made_from, watched
from biolm.jobs.modality import Modality, modality_of
from biolm.jobs.precision import settled
from biolm.jobs.spool import Parts
from biolm.options import read_options, refuse_unused
from biolm.tasks.annotate.annotator import Annotator, load_annotator
from biolm.tasks.annotate.kinds import kind_of
from biolm.tasks.annotate.naming import RowPrediction, digest_of
from biolm.tasks.annotate.settings import PredictSettings

if TYPE_CHECKING:
    from anndata import AnnData

    from biolm.models.model import CellModel
    from biolm.models.sequence_model import SequenceModel

__all__ = ["PredictSummary", "annotate_file", "predict", "predict_file"]


def predict(
    data: str | Path | AnnData,
    annotator: str | Path | Annotator,
    *,
    model: str | Path | CellModel | SequenceModel | None = None,
    key: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData:
    """Name cells, sequences or residues.

    Parameters
    ----------
    data
        A path or an AnnData with raw counts, of any genes in any order and by any identifier; or a file of
        sequences of the kind that the annotator's model reads.
    annotator
        A folder of ``biolm annotate fit``, or what :func:`biolm.annotate.fit` returned.
    model
        The annotator's model, where it is no longer where it was.
    key
        Name of the result; ``biolm_<label>`` by default.
    copy
        For an AnnData: leave it as it is and return a copy.
    options
        See :class:`biolm.tasks.annotate.settings.PredictSettings`.

    Returns
    -------
    The AnnData, for sequences a new one with a row each (or a row a residue), with categorical ``obs[key]``,
    ``obs[key + "_confidence"]``, ``obsm[key + "_probabilities"]`` and ``uns["biolm"][key]``, which names the
    classes. Numbers are in ``obs[key]`` alone.

    Raises
    ------
    BiolmError
        If the data or the annotator cannot be used.

    Examples
    --------
    >>> from biolm import annotate
    >>> cells = "data/cells/pbmc_cite_10k.h5ad"
    >>> annotator = annotate.fit(cells, label="cell_type", leave_out=("other",))
    >>> adata = annotate.predict("data/cells/pbmc68k_reduced_counts_700.h5ad", annotator)
    >>> "biolm_cell_type_confidence" in adata.obs
    True
    """
    settings: PredictSettings = read_options(PredictSettings, {"key": key, **options}, "annotate predict")
    settings.check_in_memory(attaches=True)
    modality = modality_of(data)
    refuse_unused(settings, modality.reads)
    used = _opened(annotator, model, modality)
    given: Any = None if isinstance(data, str | Path) else data
    with modality.open(data, settings) as source:
        work = kind_of(modality).prediction(modality, source, used, settings)
        # Clashing keys and formats are noticed before precision is measured, which takes a while.
        work.check(None)
        work = _settled(work, None)
        parts = [work.compute(block) for block in work.blocks(0, len(work.ends) - 1)]
        return work.table(parts, given, copy=copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSummary:
    """What a job did.

    Parameters
    ----------
    rows, unit
        How many were named, and what they are.
    counts
        By key: rows of each class; empty for a shard, None where they are not counted.
    """

    rows: int
    unit: str
    counts: dict[str, Any] | None


def predict_file(
    path: str | Path,
    output: str | Path,
    annotator: str | Path | Annotator,
    settings: PredictSettings,
    model: str | Path | CellModel | SequenceModel | None = None,
) -> dict[str, Any]:
    """Name the rows of a file into a file, or do a shard of them into a folder.

    Of cells a copy of the table with the names is written; of sequences a table with a row each (or a row a
    residue). Shards of cells are merged with the annotator of a folder, which is then given as a folder.

    Parameters
    ----------
    path
        A table of cells, or a file of sequences.
    output
        ``.h5ad`` or ``.zarr``; of sequences ``.tsv``, ``.csv``, ``.parquet`` or ``.h5ad``; a folder for a
        shard.
    annotator
        A folder of ``biolm annotate fit``, or what :func:`biolm.annotate.fit` returned.
    settings
        Choices of the job.
    model
        The annotator's model, where it is no longer where it was.

    Returns
    -------
    By key: cells of each class; of sequences and of a shard, nothing.

    Raises
    ------
    BiolmError
        If input, annotator or output cannot be used; nothing half-written is left.
    """
    return annotate_file(path, output, annotator, settings, model).counts or {}


def annotate_file(
    path: str | Path,
    output: str | Path,
    annotator: str | Path | Annotator,
    settings: PredictSettings,
    model: Any = None,
) -> PredictSummary:
    """As :func:`predict_file`, and how many rows there were.

    Parameters
    ----------
    path, output, annotator, settings, model
        As of :func:`predict_file`.
    """
    modality, target = modality_of(path), Path(output)
    refuse_unused(settings, modality.reads)
    kind = kind_of(modality)
    form, endings = kind.form(target, settings)
    check_outputs(target, endings, settings)
    # Merging reads the annotator again, in another process, by the path that the shard recorded.
    in_memory = isinstance(annotator, Annotator) or not isinstance(model, str | Path | None)
    if settings.shard and kind.rereads and in_memory:
        raise ConfigError("a shard is merged with the annotator of a folder; save it and give the folder")
    used = _opened(annotator, model, modality)
    counts: dict[str, Any] | None = {}
    with modality.open(path, settings) as source:
        work = kind.prediction(modality, source, used, settings)
        work.check(target)
        work = _settled(work, target if settings.resume else None)

        def finish(parts: Parts, temporary: Path) -> None:
            nonlocal counts
            counts = work.write(parts, temporary, form)

        facts = {
            "input": made_from(path),
            "modality": modality.name,
            "annotator": made_from(annotator),
            "model": str(model) if isinstance(model, str | Path) else None,
        }
        rows = Job(
            kind=work.kind,
            same={
                "annotator": plain(used.provenance)
                if isinstance(annotator, Annotator)
                else digest_of(Path(annotator)),
                "key": work.key,
                **work.same(),
            },
            facts=facts | work.facts(),
            inputs=watched(source),
            ends=work.ends,
            blocks=work.blocks,
            compute=work.compute,
            finish=finish,
            label="annotating",
            unit=modality.reads,
        ).run(target, settings)
    return PredictSummary(rows=rows, unit=modality.reads, counts=counts)


def _opened(annotator: str | Path | Annotator, model: Any, modality: Modality) -> Annotator:
    """The annotator itself, or that of a folder.

    Raises
    ------
    CheckpointError
        If it names another kind of data.
    """
    used = annotator if isinstance(annotator, Annotator) else load_annotator(annotator, model)
    # Before any reading: the heads would fail later with a width that tells the user nothing.
    if used.modality != modality.reads:
        named = "the annotator" if isinstance(annotator, Annotator) else str(annotator)
        raise CheckpointError(f"{named} holds no annotator of {modality.reads}: it names {used.modality}")
    return used


def _settled(work: Any, resume: Path | None) -> Any:
    """With ``precision='auto'`` decided and the query's shift found; sequences have neither."""
    if not isinstance(work, RowPrediction):
        return work
    return replace(work, job=settled(work.job, resume=resume)).aligned()
