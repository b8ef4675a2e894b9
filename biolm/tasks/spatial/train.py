"""``biolm spatial train``: fusion of genes and image, trained on sections and evaluated on sections left out.

Dimensions: ``n`` spots · ``g`` predicted genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.errors import InputError
from biolm.io.atomic import refuse_existing, replacing
from biolm.models.systems.gene_image_store import SavedModel, save_gene_image
from biolm.progress import log
from biolm.scoring.spatial_splits import Fold, block_folds, choose_split, group_folds, random_folds
from biolm.tasks.spatial.arms import ArmScores, coordinate_arm, depth_arm, model_arms
from biolm.tasks.spatial.folds import FoldArrays, FoldSections, fold_arrays
from biolm.tasks.spatial.prepared import Prepared, load_prepared
from biolm.tasks.spatial.report import write_training_report
from biolm.tasks.spatial.settings import TrainSettings
from biolm.training.spatial.arrays import join_arrays
from biolm.training.spatial.fit import Fitted, fit

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Trained", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Result of :func:`train`.

    Parameters
    ----------
    saved
        The final model, trained on all sections.
    scores
        All arms on what was held out; None where nothing was scored.
    provenance
        Split, sections, seeds, losses.
    """

    saved: SavedModel
    scores: ArmScores | None
    provenance: dict[str, Any]


def train(
    sections: Sequence[str | Path | AnnData | Prepared],
    output: str | Path | None = None,
    *,
    settings: TrainSettings | None = None,
) -> Trained:
    """Train a gene-image model and score it with all its controls.

    Parameters
    ----------
    sections
        What :func:`~biolm.tasks.spatial.prepare.prepare` wrote, all by one encoder and patch size.
    output
        Folder to write: the model, ``report.json``, ``scores.tsv`` and ``report.html``.
    settings
        See :class:`TrainSettings`.

    Raises
    ------
    ConfigError
        If the split is not possible, or random and not forced.
    InputError
        If a section has no image features, or the sections were encoded differently.
    """
    settings = settings or TrainSettings()
    target = None if output is None else Path(output)
    if target is not None:
        refuse_existing(target, overwrite=settings.overwrite)
    prepared = [load_prepared(section) for section in sections]
    # Before folds are made: training takes minutes, and the encoder cannot be told from the features.
    _check_alike(prepared)
    patients = [section.patient for section in prepared]
    split = choose_split(settings.split, patients, force_random=settings.force_random_split)
    folds = make_folds(prepared, split, settings.seed)
    if split == "section" and len(prepared) > 1:
        log.info("all sections are of one patient (%s): this is no split by patient", patients[0])
    # All folds are scored before the final model, which sees every section and could score none.
    scores = ArmScores() if settings.seeds else None
    losses: list[dict[str, float]] = []
    if scores is not None:
        for fold in folds:
            losses += score_fold(fold, settings, scores)
    saved = final_model(prepared, folds, settings)
    metadata = {
        "split": split,
        "sections": [section.name for section in prepared],
        "patients": sorted(set(patients)),
        "seeds": settings.seeds,
        "targets": len(saved.panel.targets),
        "context_genes": len(saved.panel.context),
        "trained_parameters": saved.model.trained_parameters(),
        "fit": asdict(settings.fit),
        "last_losses": losses[-1] if losses else {},
    }
    result = Trained(saved=saved, scores=scores, provenance=metadata)
    if target is not None:
        with replacing(target, overwrite=settings.overwrite) as folder:
            folder.mkdir()
            save_gene_image(saved, folder)
            write_training_report(folder, scores, metadata)
        log.info("wrote %s", target)
    return result


def make_folds(sections: Sequence[Prepared], split: str, seed: int) -> list[FoldSections]:
    """The sections, or their parts, on each side of every fold."""
    if split in ("patient", "section"):
        groups = [s.patient if split == "patient" else s.name for s in sections]
        if split == "section" and len(set(groups)) < len(groups):
            raise InputError("two sections have one name, so they cannot be told apart; prepare one anew")
        return [_grouped(sections, fold) for fold in group_folds(groups)]
    only = sections[0]
    folds = random_folds(len(only), seed=seed) if split == "random" else block_folds(only.xy, _gap(only))
    return [_parts(only, fold) for fold in folds]


def _grouped(sections: Sequence[Prepared], fold: Fold) -> FoldSections:
    training = [sections[place] for place in fold.train]
    inner = [sections[place] for place in fold.inner]
    if not inner:
        # Two groups only: a part of the training section decides when to stop.
        cut = block_folds(training[0].xy, _gap(training[0]))[0]
        inner = [training[0].take(cut.test)]
        training = [training[0].take(np.concatenate((cut.train, cut.inner))), *training[1:]]
    return FoldSections(fold.name, training, inner, [sections[place] for place in fold.test])


def _parts(section: Prepared, fold: Fold) -> FoldSections:
    return FoldSections(
        fold.name,
        [section.take(fold.train)],
        [section.take(fold.inner)],
        [section.take(fold.test, fold.name)],
    )


def _gap(section: Prepared) -> float:
    """The side of a patch in the unit of the places: with it, no patch shows a held-out one's tissue."""
    scale = section.record.get("microns_per_pixel")
    if scale is None:
        raise InputError(
            f"{section.name} states no scale, so the gap between blocks is unknown; prepare it again with "
            "`microns_per_pixel` or `spot_pitch_um`"
        )
    # Sections prepared without an image have no patch; the usual side keeps blocks as far apart.
    side = float(section.record.get("patch_um", 112.0))
    return side / float(scale)


def score_fold(fold: FoldSections, settings: TrainSettings, scores: ArmScores) -> list[dict[str, float]]:
    """Train on one fold with every seed and note all arms; losses of the last epochs."""
    arrays = fold_arrays(fold, settings.model)
    losses = []
    # After the number of epochs is known the inner section is training data again.
    everything = join_arrays([arrays.train, arrays.inner])
    for place, test in enumerate(arrays.test):
        name = fold.test[place].name
        plain = coordinate_arm(arrays.train_xy, everything, arrays.test_xy[place], test)
        plain |= depth_arm(arrays.train_depth, everything, arrays.test_depth[place], test)
        # These have no seed; noted as often as the model, they weigh the same in every mean.
        for _ in range(settings.seeds):
            scores.add(name, plain)
    for seed in range(settings.seed, settings.seed + settings.seeds):
        chosen = _twice(arrays, settings, seed)
        losses.append(chosen.history[-1] if chosen.history else {})
        for place, test in enumerate(arrays.test):
            arms = model_arms(chosen.model, test, seed=seed, device=settings.device)
            scores.add(fold.test[place].name, arms)
            if arrays.config.niches:
                scores.add_niche(fold.test[place].name, chosen.model, everything, test)
            if settings.fit.contrast:
                scores.add_retrieval(fold.test[place].name, chosen.model, test, settings.device)
        # A model of shuffled pairs trains as long as the real one, so that only the pairing differs.
        if settings.controls:
            mixed = fit(
                arrays.config,
                everything.shuffled(seed),
                None,
                settings.fit,
                seed=seed,
                epochs=chosen.epochs,
                device=settings.device,
            )
            for place, test in enumerate(arrays.test):
                both = model_arms(mixed.model, test, seed=seed, device=settings.device)["both"]
                scores.add(fold.test[place].name, {"shuffled pairs": both})
        log.info("%s left out, seed %d: %d epochs", fold.name, seed, chosen.epochs)
    return losses


def _twice(arrays: FoldArrays, settings: TrainSettings, seed: int) -> Fitted:
    """Find the number of epochs on the inner section, then train so long on all that is not tested."""
    first = fit(arrays.config, arrays.train, arrays.inner, settings.fit, seed=seed, device=settings.device)
    # Trained anew rather than on: the epochs were counted from scratch.
    again = fit(
        arrays.config,
        join_arrays([arrays.train, arrays.inner]),
        None,
        settings.fit,
        seed=seed,
        epochs=first.epochs,
        device=settings.device,
    )
    return Fitted(again.model, first.history, first.epochs)


def final_model(
    sections: Sequence[Prepared], folds: Sequence[FoldSections], settings: TrainSettings
) -> SavedModel:
    """One model on all sections; how long is found with the first fold's inner section held out."""
    first = folds[0]
    # The test section of a fold may be trained on here: the final model is not scored.
    whole = FoldSections("all", [*first.train, *first.test], first.inner, [])
    arrays = fold_arrays(whole, settings.model)
    done = _twice(arrays, settings, settings.seed)
    about = sections[0].record
    return SavedModel(
        model=done.model,
        panel=arrays.panel,
        medians=arrays.medians,
        neighbours=settings.model.neighbours,
        metadata={
            "sections": [section.name for section in sections],
            "epochs": done.epochs,
            **{name: about[name] for name in ENCODED if name in about},
        },
    )


ENCODED = (
    "encoder",
    "sha256",
    "seed",
    "width",
    "size",
    "version",
    "patch_um",
    "patch_pixels",
    "stain_normalised",
    "symmetric",
)
"""Entries of the record that must agree between sections."""


def _check_alike(sections: Sequence[Prepared]) -> None:
    if not sections:
        raise InputError("give at least one prepared section")
    first = sections[0]
    for section in sections:
        if section.image is None:
            raise InputError(
                f"{section.name} has no image features; prepare it with its image (biolm spatial prepare "
                "`image`)"
            )
        for name in ENCODED:
            if section.record.get(name) != first.record.get(name):
                raise InputError(
                    f"{section.name} was prepared with {name} {section.record.get(name)} but {first.name} "
                    f"with {first.record.get(name)}; prepare all sections alike"
                )
