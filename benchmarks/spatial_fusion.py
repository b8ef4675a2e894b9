"""Fusion of genes and image on the shared sections C2 to C5, each left out in turn, beside ridge baselines.

``python benchmarks/spatial_fusion.py --seeds 3`` takes about a quarter of an hour of CPU time. All four
sections are of one patient.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from biolm.adapters.spatial.genes import choose_targets, normalised_targets, raw_log_targets, standardised
from biolm.adapters.spatial.graph import nearest
from biolm.core.config import CoreConfig
from biolm.core.model import Transformer
from biolm.io.spatial.images import open_image
from biolm.models.systems.image_encoders import VitEncoder, make_encoder
from biolm.scoring.expression import pearson_columns
from biolm.tasks.spatial.align import align
from biolm.tasks.spatial.arms import ArmScores
from biolm.tasks.spatial.features import content_hash, image_features
from biolm.tasks.spatial.prepare import prepare
from biolm.tasks.spatial.prepared import load_prepared
from biolm.tasks.spatial.report import arm_text
from biolm.tasks.spatial.settings import PrepareSettings, TrainSettings
from biolm.tasks.spatial.train import make_folds, score_fold
from biolm.training.spatial.fit import ALPHAS
from biolm.training.spatial.settings import FitSettings

NAMES = ("C2", "C3", "C4", "C5")


def prepared(data: Path, work: Path) -> dict:
    """The sections with colour features."""
    found = {}
    for name in NAMES:
        target = work / f"{name}.h5ad"
        if not target.exists():
            settings = PrepareSettings(cache=work / "cache")
            prepare(data / f"{name}.h5ad", target, image=data / f"{name}.jpg", settings=settings)
        found[name] = load_prepared(target)
    return found


def random_vit(seed: int) -> VitEncoder:
    """An untrained ViT, 6 layers of width 192."""
    torch.manual_seed(seed)
    config = CoreConfig(
        vocab_size=2,
        d_model=192,
        n_layers=6,
        n_heads=3,
        d_ff=768,
        max_length=197,
        value_encoder="patches",
        n_values=768,
    )
    return VitEncoder(Transformer(config), {"encoder": "random vit", "seed": seed}, 224)


def other_features(data: Path, work: Path) -> dict:
    """Features of untrained encoders, for comparison."""
    from biolm.adapters.spatial.patches import PatchSettings
    from biolm.io.spatial import open_section

    found: dict = {"random convolutions": {}, "random ViT": {}}
    encoders = (("random convolutions", make_encoder("convolutions")), ("random ViT", random_vit(0)))
    for name in NAMES:
        image = data / f"{name}.jpg"
        with open_section(data / f"{name}.h5ad") as section, align(section, image) as placed:
            order = np.argsort(section.names, kind="stable")
            for kind, encoder in encoders:
                features, _ = image_features(
                    placed, encoder, PatchSettings(), image_hash=content_hash(image), cache=work / "cache"
                )
                # Means of the tokens, as the recorded figures had them.
                found[kind][name] = features.mean(1)[order]
    return found


def ridge(sections: dict, extra: dict) -> dict:
    """Mean r of ridge regression on several inputs: depth-normalised and plain log counts."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeCV

    scores: dict = {}
    for test in NAMES:
        names = [name for name in NAMES if name != test]
        known = [sections[name] for name in names]
        panel = choose_targets([s.counts for s in known], [s.genes for s in known], 50)
        panel = panel.fit_components([panel.context_counts(s.counts, s.genes) for s in known], 30)
        inputs: dict = {kind: dict(held) for kind, held in extra.items()}
        wanted: dict = {"normalised": {}, "raw": {}}
        for name, s in sections.items():
            colour = s.image[:, 0].astype(float)
            genes = panel.scores(panel.context_counts(s.counts, s.genes))
            around = nearest(s.xy, 8).mean(colour)
            for kind, values in (
                ("colour", colour),
                ("colour + 8 neighbours", np.hstack((colour, around))),
                ("other genes (PCA 30)", genes),
                ("other genes + colour", np.hstack((genes, colour))),
            ):
                inputs.setdefault(kind, {})[name] = values
            targets = panel.target_counts(s.counts, s.genes)
            wanted["normalised"][name] = normalised_targets(s.counts, targets)
            wanted["raw"][name] = raw_log_targets(targets)
        for kind, held in inputs.items():
            x = np.concatenate([standardised(held[name]) for name in names])
            reduce = PCA(64, random_state=0).fit(x) if x.shape[1] > 64 else None
            x = x if reduce is None else reduce.transform(x)
            own = standardised(held[test])
            own = own if reduce is None else reduce.transform(own)
            for column, tables in wanted.items():
                y = np.concatenate([standardised(tables[name]) for name in names])
                model = RidgeCV(ALPHAS).fit(x, y)
                value = pearson_columns(model.predict(own), tables[test]).mean()
                scores.setdefault(kind, {}).setdefault(column, []).append(round(float(value), 3))
    return scores


def patches_per_second(data: Path) -> float:
    """Crop and resize of a decoded JPEG, patches a CPU-second."""
    from biolm.adapters.spatial.patches import PatchSettings, cut_patches

    with open_image(data / "C5.jpg") as image:
        rng = np.random.default_rng(0)
        centres = rng.uniform(200, 9000, (600, 2))
        patches = cut_patches(image, centres, 0.686, PatchSettings())
        start = time.process_time()
        for _ in patches.blocks():
            pass
        return len(patches) / (time.process_time() - start)


def fusion(sections: dict, contrast: float, seeds: int, epochs: int) -> dict:
    """All arms, seed after seed; the figures so far are printed after each seed."""
    held = list(sections.values())
    scores = ArmScores()
    start = time.process_time()
    for seed in range(seeds):
        settings = TrainSettings(
            fit=FitSettings(contrast=contrast, epochs=epochs), seed=seed, seeds=1, controls=contrast > 0
        )
        for fold in make_folds(held, "section", 0):
            score_fold(fold, settings, scores)
            used = time.process_time() - start
            print(f"contrast {contrast}, seed {seed}, {fold.name} left out, {used:.0f} CPU s", flush=True)
        print(f"\ncontrast {contrast}, {seed + 1} seeds\n{arm_text(scores)}\n", flush=True)
    return scores.as_dict()


def main() -> None:
    """Prepare, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/spatial/her2st_C"))
    parser.add_argument("--work", type=Path, default=Path("benchmarks/spatial_work"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fusion-only", action="store_true", help="skip the speed of patches and ridge")
    parser.add_argument("--contrast", choices=("with", "without", "both"), default="both")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.work.mkdir(parents=True, exist_ok=True)
    sections = prepared(chosen.data, chosen.work)
    if not chosen.fusion_only:
        print("patches a CPU-second:", round(patches_per_second(chosen.data)), flush=True)
        for kind, columns in ridge(sections, other_features(chosen.data, chosen.work)).items():
            text = "; ".join(
                f"{name} {values} mean {np.mean(values):.3f}" for name, values in columns.items()
            )
            print(f"ridge, {kind}: {text}", flush=True)
    contrasts = {"with": (0.1,), "without": (0.0,), "both": (0.1, 0.0)}[chosen.contrast]
    results = {f"contrast {c}": fusion(sections, c, chosen.seeds, chosen.epochs) for c in contrasts}
    (chosen.work / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
