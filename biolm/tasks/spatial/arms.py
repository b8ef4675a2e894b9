"""What a gene-image model must be shown beside: the same run with a side missing, wrong or shuffled.

Dimensions: ``n`` spots · ``g`` genes · ``s`` held-out sections · ``r`` seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.models.systems.gene_image import GeneImageModel
from biolm.scoring.expression import Interval, bootstrap_mean, paired_gain, pearson_columns
from biolm.scoring.retrieval import RECALLS, Retrieval, retrieve_both_ways
from biolm.training.spatial.arrays import SpotArrays, other_spots
from biolm.training.spatial.fit import predict_arrays

__all__ = ["ARMS", "ArmScores", "coordinate_arm", "depth_arm", "model_arms"]

ARMS = (
    "image only",
    "genes only",
    "both",
    "both, image of another spot",
    "coordinates only",
    "depth only",
    "shuffled pairs",
)
NEAREST = 6

Correlations = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""``(g,)`` correlations on depth-normalised and on plain log counts, by arm."""


def model_arms(model: GeneImageModel, test: SpotArrays, *, seed: int, device: str) -> Correlations:
    """Arms that one trained model answers.

    Parameters
    ----------
    model
        Trained.
    test
        Spots that were held out.
    seed
        Of the shuffles.
    device
        Where it runs.
    """
    # Images of other spots of the same section: stain and scanner stay, only the place is wrong.
    wrong = other_spots(test.section, seed)
    runs: dict[str, dict[str, Any]] = {
        "image only": {"mode": "image"},
        "genes only": {"mode": "genes"},
        "both": {"mode": "both"},
        "both, image of another spot": {"mode": "both", "image_of": wrong},
    }
    return {
        name: correlations(predict_arrays(model, test, device=device, **run), test)
        for name, run in runs.items()
    }


def correlations(prediction: Any, test: SpotArrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of both kinds of target; spots without an image count like all others."""
    return pearson_columns(prediction.expression, test.expression), pearson_columns(prediction.raw, test.raw)


@dataclass(frozen=True, slots=True)
class _Plain:
    expression: NDArray[Any]
    raw: NDArray[Any]


def coordinate_arm(
    train_xy: NDArray[np.float64], train: SpotArrays, test_xy: NDArray[np.float64], test: SpotArrays
) -> Correlations:
    """The 6 nearest training spots by coordinates that were standardised within each section.

    Parameters
    ----------
    train_xy, test_xy
        ``(n, 2)`` standardised coordinates.
    train, test
        Spots of both sides.
    """
    from sklearn.neighbors import KNeighborsRegressor

    model = KNeighborsRegressor(min(NEAREST, len(train_xy)))
    wanted = _targets(train)
    predicted = model.fit(train_xy, wanted).predict(test_xy)
    return {"coordinates only": correlations(_Plain(*np.split(predicted, 2, 1)), test)}


def depth_arm(
    train_depth: NDArray[np.float64], train: SpotArrays, test_depth: NDArray[np.float64], test: SpotArrays
) -> Correlations:
    """A line through the log library size of the context genes, standardised within each section.

    Parameters
    ----------
    train_depth, test_depth
        ``(n,)`` log library sizes of the context genes, standardised.
    train, test
        Spots of both sides.
    """
    from sklearn.linear_model import LinearRegression

    wanted = _targets(train)
    predicted = LinearRegression().fit(train_depth[:, None], wanted).predict(test_depth[:, None])
    return {"depth only": correlations(_Plain(*np.split(predicted, 2, 1)), test)}


def _targets(arrays: SpotArrays) -> NDArray[np.float64]:
    assert arrays.expression is not None
    assert arrays.raw is not None
    return np.concatenate((arrays.expression, arrays.raw), 1, dtype=np.float64)


@dataclass(slots=True)
class ArmScores:
    """Correlations of all arms over sections and seeds.

    Parameters
    ----------
    sections
        Names of what was held out, in order.
    normalised, raw
        By arm, then by section: one ``(g,)`` a seed.
    ranks
        By direction, then by section: how partners were found, one a seed.
    niches
        By section: cross-entropy of the surroundings' composition, of the model and of the training mean.
    """

    sections: list[str] = field(default_factory=list)
    normalised: dict[str, dict[str, list[NDArray[np.float64]]]] = field(default_factory=dict)
    raw: dict[str, dict[str, list[NDArray[np.float64]]]] = field(default_factory=dict)

    ranks: dict[str, dict[str, list[Retrieval]]] = field(default_factory=dict)
    niches: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add_retrieval(self, section: str, model: GeneImageModel, test: SpotArrays, device: str) -> None:
        """Note how genes and images of one held-out section find each other, by vectors before fusion.

        Parameters
        ----------
        section
            Its name.
        model
            Trained without it.
        test
            Spots of the section.
        device
            Where it runs.
        """
        # Spots without an image could only be found by chance.
        rows = np.flatnonzero(test.has_image)
        predicted = predict_arrays(model, test, device=device)
        for name, one in retrieve_both_ways(
            predicted.gene_vector[rows], predicted.image_vector[rows]
        ).items():
            self.ranks.setdefault(name, {}).setdefault(section, []).append(one)

    def add_niche(self, section: str, model: GeneImageModel, known: SpotArrays, test: SpotArrays) -> None:
        """Note how well the composition of the surroundings is predicted, beside the training mean's.

        Parameters
        ----------
        section
            Its name.
        model
            Trained without it.
        known
            Spots that it was trained on.
        test
            Spots of the section.
        """
        assert known.niche is not None
        assert test.niche is not None
        rows = np.isfinite(test.niche).all(1)
        logits = predict_arrays(model, test).niche[rows].astype(np.float64)
        # Log-softmax by the maximum, so that no logit overflows.
        logits -= logits.max(1, keepdims=True)
        likely = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        # A kind that training spots never meet would make the baseline's loss infinite.
        share = np.log(np.maximum(np.nanmean(known.niche, 0), 1e-6))
        truth = test.niche[rows]
        by_arm = self.niches.setdefault(section, {"model": [], "training mean": []})
        by_arm["model"].append(float(-(truth * likely).sum(1).mean()))
        by_arm["training mean"].append(float(-(truth * share).sum(1).mean()))

    def retrieval(self, k: int) -> dict[str, dict[str, float]]:
        """Recall at ``k`` within held-out sections, by direction: mean, interval over sections, chance."""
        out = {}
        for name, ranks in self.ranks.items():
            # Seeds are averaged first: the interval is over sections, which seeds do not multiply.
            means = [[float(np.mean([one.recall(k) for one in seeds]))] for seeds in ranks.values()]
            interval = bootstrap_mean(means)
            chance = float(np.mean([seeds[0].chance(k) for seeds in ranks.values()]))
            out[name] = {**interval.as_dict(), "chance": round(chance, 4)}
        return out

    def add(self, section: str, pairs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
        """Note the arms of one seed on one section.

        Parameters
        ----------
        section
            Its name.
        pairs
            Of each arm the correlations ``(g,)`` with normalised and with raw values.
        """
        if section not in self.sections:
            self.sections.append(section)
        for arm, (normalised, raw) in pairs.items():
            self.normalised.setdefault(arm, {}).setdefault(section, []).append(normalised)
            self.raw.setdefault(arm, {}).setdefault(section, []).append(raw)

    def table(self, arm: str, *, raw: bool = False) -> NDArray[np.float64]:
        """``(s, g)`` means over the seeds.

        Parameters
        ----------
        arm
            Its name.
        raw
            Take correlations with raw instead of normalised values.
        """
        sections = (self.raw if raw else self.normalised)[arm]
        return np.stack([np.mean(sections[section], 0) for section in self.sections])

    def interval(self, arm: str, *, raw: bool = False) -> Interval:
        """Mean and 95 % interval of an arm.

        Parameters
        ----------
        arm
            Its name.
        raw
            Take correlations with raw instead of normalised values.
        """
        return bootstrap_mean(self.table(arm, raw=raw))

    def image_gain(self, image: str = "both") -> Interval:
        """Gain over genes only, paired by gene and section."""
        return paired_gain(self.table(image), self.table("genes only"))

    def verdict(self) -> str:
        """One sentence on what the image adds."""
        gain, wrong = self.image_gain(), self.image_gain("both, image of another spot")
        over_wrong = paired_gain(self.table("both"), self.table("both, image of another spot"))
        # The lower end and not the mean: a gain whose interval holds 0 is none.
        if gain.low <= 0:
            return f"The image adds nothing here: both minus genes only is {gain}."
        if over_wrong.low <= 0:
            return (
                f"The gain of {gain} is no gain from the image: with the image of another spot it is "
                f"{wrong}, and the difference, {over_wrong}, holds 0."
            )
        return f"The image adds {gain} to the genes; with the image of another spot the gain is {wrong}."

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        arms = {
            arm: {
                "normalised": self.interval(arm).as_dict(),
                "raw": self.interval(arm, raw=True).as_dict(),
                "by_section": {
                    section: round(float(self.table(arm)[place].mean()), 4)
                    for place, section in enumerate(self.sections)
                },
                "seeds": len(self.normalised[arm][self.sections[0]]),
            }
            for arm in self.normalised
        }
        return {
            "arms": arms,
            "image_gain": self.image_gain().as_dict(),
            "image_gain_of_another_spot": self.image_gain("both, image of another spot").as_dict(),
            "verdict": self.verdict(),
            "niche_cross_entropy": {
                section: {name: round(float(np.mean(values)), 4) for name, values in by_arm.items()}
                for section, by_arm in self.niches.items()
            },
            "retrieval": {f"recall_at_{k}": self.retrieval(k) for k in RECALLS},
        }
