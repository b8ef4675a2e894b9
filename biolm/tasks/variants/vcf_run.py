"""Score the variants of a VCF on a genome.

Dimensions: ``m`` variants · ``k`` columns of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError
from biolm.io.atomic import refuse_existing, replacing
from biolm.io.intervals import Variant, Window, read_vcf
from biolm.io.provenance import stamp
from biolm.io.sequences import SequenceStore
from biolm.progress import log, progress
from biolm.tasks.variants.genome import COLUMNS, check_variants, inner_window, open_reference, score_windows
from biolm.tasks.variants.letters import readable_windows
from biolm.tasks.variants.methods import check_reads, choose_methods
from biolm.tasks.variants.settings import VariantScores, VariantSettings, gather
from biolm.tasks.variants.vcf import check_vcf, scorable, write_vcf

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["block_borders", "look_at_windows", "score_vcf", "variant_blocks"]

# Variants of a block: where windows are read once, and where every token is hidden in turn.
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
        VCF to write, bgzip where it ends in ``.gz``.

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
    if output is not None:
        if not str(output).endswith((".vcf", ".vcf.gz")):
            raise ConfigError(f"{output} names no format for variants; use .vcf or .vcf.gz")
        refuse_existing(output, overwrite=settings.overwrite)
    check_vcf(path, settings.key)
    names = COLUMNS if settings.distances else COLUMNS[:3]
    with open_reference(reference) as store:
        count = check_variants(store, read_vcf(path), str(path))
        facts = settings.facts(
            model, methods, strands=settings.strands, average=settings.average, width=settings.width(model)
        )
        job = facts | {"variants": count, "vcf": stamp(Path(path)), "genome": stamp(Path(reference))}
        borders = block_borders(count, methods[0])

        tally = look_at_windows(store, read_vcf(path), model, settings)
        facts |= tally.facts()

        def blocks(start: int) -> Iterator[NDArray[np.float64]]:
            variants = islice(read_vcf(path), start, None)
            yield from variant_blocks(store, variants, model, methods[0], settings, (start, count))

        scores = gather(blocks, borders, len(COLUMNS), job, settings, output)[:, : len(names)]
    _tell(scores, methods[0], settings.width(model))
    if output is not None:
        with replacing(output, overwrite=settings.overwrite) as temporary:
            write_vcf(path, temporary, scores, names, _flat(facts), settings.key)
    columns = _columns(read_vcf(path))
    prefix = settings.key.lower()
    scored = {f"{prefix}_{name.lower()}": scores[:, place] for place, name in enumerate(names)}
    return VariantScores(columns=columns | scored, names=tuple(scored), facts=facts, output=output)


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
    policy for windows with letters that the model does not know.
    """
    width, options = settings.width(model), settings.options()
    size = _HIDDEN if method == "pseudo-perplexity" else _READ
    upcoming = iter(variants)
    start, total = bounds
    with progress("scoring", total, start=start, show=settings.progress, unit="variants") as advance:
        while block := list(islice(upcoming, size)):
            held, windows = _windows(store, block, width)
            read = readable_windows([each.reference for each in windows], model, settings, Tally())
            held, windows = held[read], [each for each, has in zip(windows, read, strict=True) if has]
            found = np.full((len(block), len(COLUMNS)), np.nan)
            chosen = [block[row] for row in held]
            if windows:
                found[held] = score_windows(
                    model,
                    windows,
                    method,
                    options,
                    whole=np.array([len(each.reference) != len(each.alternative) for each in chosen]),
                    both_strands=settings.strands == "both",
                    average=settings.average,
                    distances=settings.distances,
                )
            yield found
            advance(len(block))


def look_at_windows(
    store: SequenceStore, variants: Iterable[Variant], model: SequenceModel, settings: VariantSettings
) -> Tally:
    """Count letters round all variants that the model does not know, and say so, before it runs.

    Raises
    ------
    InputError
        If there is one and the policy is ``error``.
    """
    tally, upcoming = Tally(), iter(variants)
    while block := list(islice(upcoming, _READ)):
        _, windows = _windows(store, block, settings.width(model))
        readable_windows([each.reference for each in windows], model, settings, tally)
    if sentence := tally.sentence():
        log.warning("windows round variants: %s", sentence)
    return tally


def _windows(store: SequenceStore, block: list[Variant], width: int) -> tuple[NDArray[np.intp], list[Window]]:
    """Places in the block of variants that have a score, and their windows."""
    held = np.flatnonzero([scorable(each, width) for each in block])
    return held, [inner_window(store, block[row], width) for row in held]


def block_borders(count: int, method: str) -> NDArray[np.int64]:
    """Where blocks of variants begin and end."""
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


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of one level, for a line of the header."""
    checkpoint = facts["checkpoint"]
    return {name: value for name, value in facts.items() if name != "checkpoint"} | {
        "sha256": checkpoint["sha256"]
    }


def _columns(variants: Iterable[Variant]) -> dict[str, NDArray[Any]]:
    held = list(variants)
    return {
        "contig": np.array([each.contig for each in held], str),
        "position": np.array([each.start + 1 for each in held], np.int64),
        "name": np.array([each.name for each in held], str),
        "reference": np.array([each.reference for each in held], str),
        "alternative": np.array([each.alternative for each in held], str),
        "line": np.array([each.line for each in held], np.int64),
    }
