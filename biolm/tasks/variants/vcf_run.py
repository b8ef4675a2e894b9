"""Score the variants of a VCF on a genome.

Dimensions: ``m`` variants · ``k`` columns of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError, InputError
from biolm.io.intervals import Variant, Window, read_vcf
from biolm.io.provenance import stamp
from biolm.io.sequences import SequenceStore
from biolm.jobs.job import Job, check_outputs
from biolm.jobs.merging import Merging
from biolm.jobs.spool import Parts
from biolm.progress import log, progress
from biolm.tasks.variants.genome import COLUMNS, inner_window, open_reference, score_windows
from biolm.tasks.variants.letters import readable_windows
from biolm.tasks.variants.methods import check_reads, choose_methods
from biolm.tasks.variants.settings import VariantScores, VariantSettings
from biolm.tasks.variants.vcf import checked_variants, scorable, write_vcf

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["block_borders", "look_at_windows", "merge_vcf", "score_vcf", "variant_blocks"]

KIND = "variants"
_ENDINGS = (".vcf", ".vcf.gz")

# Variants of a block: where windows are read once, and where every token is masked in turn.
_READ, _HIDDEN = 64, 8


def score_vcf(
    path: str | Path,
    reference: str | Path,
    model: SequenceModel,
    settings: VariantSettings,
    output: Path | None = None,
) -> VariantScores:
    """Score every alternative allele of a VCF.

    Parameters
    ----------
    path
        VCF, plain or gzip.
    reference
        FASTA, or a store of the genome; ``1`` and ``chr1`` are the same.
    model
        A model of DNA.
    settings
        Choices of the job; one method.
    output
        VCF to write, bgzip where it ends in ``.gz``; a folder for a shard. The result then names variants by
        their row alone.

    Raises
    ------
    BiolmError
        If model, genome, variants or output cannot be used; the line is named.
    """
    check_reads(model, "dna", "a VCF")
    methods = choose_methods(model, settings.method)
    if len(methods) > 1:
        raise ConfigError(f"a VCF takes one method at a time, not {', '.join(methods)}; choose one")
    if settings.average and methods[0].endswith("marginal"):
        raise ConfigError(f"average is over whole windows and means nothing for {methods[0]}; leave it out")
    if output is None:
        settings.check_in_memory()
    elif settings.shard is None:
        if not str(output).endswith(_ENDINGS):
            raise ConfigError(f"{output} names no format for variants; use .vcf or .vcf.gz")
        check_outputs(output, (output.suffix,), settings)
    else:
        check_outputs(output, (".vcf", ".gz"), settings)
    names = COLUMNS if settings.distances else COLUMNS[:3]
    with open_reference(reference) as store:
        tally = Tally()
        # The whole file is checked before the model runs: a wrong genome shows in the first seconds.
        looked = look_at_windows(store, checked_variants(store, path, settings.key), model, settings, tally)
        count = sum(1 for _ in looked)
        if sentence := tally.sentence():
            log.warning("windows round variants: %s", sentence)
        metadata = settings.provenance(
            model, methods, strands=settings.strands, average=settings.average, width=settings.width(model)
        )
        same = {
            "input": {"variants": count, "vcf": stamp(Path(path)), "genome": stamp(Path(reference))},
            "options": {"distances": settings.distances, "key": settings.key},
            "provenance": metadata | tally.as_dict(),
            "model": metadata,
        }
        work = _Work(store=store, path=path, model=model, method=methods[0], settings=settings)
        ends = block_borders(count, methods[0])
        if output is None:
            return _in_memory(work, ends, names, same["provenance"])

        prefix = settings.key.lower()
        columns: dict[str, NDArray[Any]] = {}

        def finish(parts: Parts, temporary: Path) -> None:
            scores = _scores(parts, len(names))
            columns.update({f"{prefix}_{name.lower()}": scores[:, place] for place, name in enumerate(names)})
            _tell(scores, methods[0], settings.width(model))
            write_vcf(path, temporary, scores, names, _flat(same["provenance"]), settings.key)

        rows = Job(
            kind=KIND,
            same=same,
            facts={"input": str(Path(path).resolve())},
            inputs={"vcf": Path(path)},
            ends=ends,
            blocks=work.blocks,
            compute=work.compute,
            finish=finish,
            label="scoring",
            unit="variants",
        ).run(output, settings)
    return VariantScores(
        columns={"row": np.arange(rows), **columns},
        names=tuple(columns),
        provenance=same["provenance"],
        output=output,
    )


def merge_vcf(merging: Merging) -> int:
    """Write the VCF of all shards as the whole job would; how many variants there are.

    Raises
    ------
    InputError
        If the VCF changed.
    """
    if merging.form is not None or not str(merging.target).endswith(_ENDINGS):
        raise ConfigError(
            f"{merging.target} names no format for variants; use .vcf or .vcf.gz, and no `format`"
        )
    # The file may have moved between machines; its stamp tells whether it is the same.
    job, place = merging.job, Path(merging.place)
    stamped = job["input"] | {"vcf": stamp(place)}
    # Scores are joined to the lines of the VCF by their order.
    if stamped != job["input"]:
        raise InputError(f"{place} is not what the shards were made from; name the right file with `data`")
    options, metadata = job["options"], job["provenance"]
    names = COLUMNS if options["distances"] else COLUMNS[:3]
    scores = _scores(merging.parts, len(names))
    merging.write(
        lambda temporary: write_vcf(place, temporary, scores, names, _flat(metadata), options["key"])
    )
    return len(scores)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Scores the variants of a VCF block by block."""

    store: SequenceStore
    path: str | Path
    model: SequenceModel
    method: str
    settings: VariantSettings

    def blocks(self, first: int, last: int) -> Iterator[list[Variant]]:
        """The blocks ``first`` to ``last``; the file is read from its beginning."""
        size = _HIDDEN if self.method == "pseudo-perplexity" else _READ
        # Read again from the start: a VCF packed by BGZF has no places to jump to without an index.
        upcoming = islice(read_vcf(self.path), first * size, last * size)
        while block := list(islice(upcoming, size)):
            yield block

    def compute(self, block: list[Variant]) -> dict[str, NDArray[Any]]:
        """``scores`` ``(m, k)`` of one block."""
        # The job shows its own progress.
        quiet = replace(self.settings, progress=False)
        bounds = (0, len(block))
        scores = list(variant_blocks(self.store, block, self.model, self.method, quiet, bounds))
        return {"scores": np.concatenate(scores).astype(np.float32)}


def _in_memory(
    work: _Work, ends: NDArray[np.int64], names: tuple[str, ...], metadata: dict[str, Any]
) -> VariantScores:
    """All scores beside the variants."""
    variants: list[Variant] = []
    parts = [np.zeros((0, len(COLUMNS)), np.float32)]
    settings = work.settings
    with progress("scoring", int(ends[-1]), show=settings.progress, unit="variants") as advance:
        for block in work.blocks(0, len(ends) - 1):
            variants += block
            parts.append(work.compute(block)["scores"])
            advance(len(block))
    scores = np.concatenate(parts)[:, : len(names)]
    _tell(scores, work.method, settings.width(work.model))
    prefix = settings.key.lower()
    scored = {f"{prefix}_{name.lower()}": scores[:, place] for place, name in enumerate(names)}
    return VariantScores(columns=_columns(variants) | scored, names=tuple(scored), provenance=metadata)


def _scores(parts: Parts, width: int) -> NDArray[np.float32]:
    none = np.zeros((0, len(COLUMNS)), np.float32)
    return np.concatenate([none, *(part["scores"] for part in parts)])[:, :width]


def variant_blocks(
    store: SequenceStore,
    variants: Iterable[Variant],
    model: SequenceModel,
    method: str,
    settings: VariantSettings,
    bounds: tuple[int, int],
) -> Iterator[NDArray[np.float64]]:
    """Scores of consecutive variants.

    Parameters
    ----------
    store
        The genome.
    variants
        Those to score.
    model
        A model of DNA.
    method
        How.
    settings
        Choices of the job.
    bounds
        Number of the first variant, and of all.

    Yields
    ------
    ``(·, k)``; NaN for alleles that are not written in A, C, G and T or are longer than a window, and by
    policy for windows with residues or bases that the model does not know.
    """
    width, options = settings.width(model), settings.options()
    size = _HIDDEN if method == "pseudo-perplexity" else _READ
    upcoming = iter(variants)
    start, total = bounds
    with progress("scoring", total, start=start, show=settings.progress, unit="variants") as advance:
        while block := list(islice(upcoming, size)):
            rows, windows = _windows(store, block, width)
            # Counted before the job by look_at_windows, so this count is thrown away.
            read = readable_windows([each.reference for each in windows], model, settings, Tally())
            rows, windows = rows[read], [each for each, has in zip(windows, read, strict=True) if has]
            scores = np.full((len(block), len(COLUMNS)), np.nan)
            chosen = [block[row] for row in rows]
            if windows:
                scores[rows] = score_windows(
                    model,
                    windows,
                    method,
                    options,
                    whole=np.array([len(each.reference) != len(each.alternative) for each in chosen]),
                    both_strands=settings.strands == "both",
                    average=settings.average,
                    distances=settings.distances,
                )
            yield scores
            advance(len(block))


def look_at_windows(
    store: SequenceStore,
    variants: Iterable[Variant],
    model: SequenceModel,
    settings: VariantSettings,
    tally: Tally,
) -> Iterator[Variant]:
    """The variants one by one, while letters round them that the model does not know are counted.

    Parameters
    ----------
    store
        The genome.
    variants
        Those that will be scored.
    model, settings
        A model of DNA and the choices of the job.
    tally
        Counts the letters.

    Raises
    ------
    InputError
        If there is one and the policy is ``error``.
    """
    upcoming = iter(variants)
    while block := list(islice(upcoming, _READ)):
        _, windows = _windows(store, block, settings.width(model))
        readable_windows([each.reference for each in windows], model, settings, tally)
        yield from block


def _windows(store: SequenceStore, block: list[Variant], width: int) -> tuple[NDArray[np.intp], list[Window]]:
    """Places in the block of variants that have a score, and their windows."""
    rows = np.flatnonzero([scorable(each, width) for each in block])
    return rows, [inner_window(store, block[row], width) for row in rows]


def block_borders(count: int, method: str) -> NDArray[np.int64]:
    """Where blocks of variants begin and end.

    Parameters
    ----------
    count
        Variants.
    method
        By which they are scored.
    """
    size = _HIDDEN if method == "pseudo-perplexity" else _READ
    return np.append(np.arange(0, count, size), count)


def _tell(scores: NDArray[np.float32], method: str, width: int) -> None:
    without = int(np.isnan(scores[:, 0]).sum())
    if not without:
        return
    marginal = method.endswith("marginal")
    why = "an insertion or deletion has no marginal, use one-pass; " if marginal else ""
    log.warning(
        "%d of %d variants have no score: %salleles must be in A, C, G and T and fit a window of %d bases",
        without,
        len(scores),
        why,
        width,
    )


def _flat(metadata: dict[str, Any]) -> dict[str, Any]:
    """Facts of one level, for a line of the header."""
    checkpoint = metadata["checkpoint"]
    return {name: value for name, value in metadata.items() if name != "checkpoint"} | {
        "sha256": checkpoint["sha256"]
    }


def _columns(variants: Iterable[Variant]) -> dict[str, NDArray[Any]]:
    records = list(variants)
    return {
        "contig": np.array([each.contig for each in records], str),
        "position": np.array([each.start + 1 for each in records], np.int64),
        "name": np.array([each.name for each in records], str),
        "reference": np.array([each.reference for each in records], str),
        "alternative": np.array([each.alternative for each in records], str),
        "line": np.array([each.line for each in records], np.int64),
    }
