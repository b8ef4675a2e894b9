"""Training of a gene-image model: modality dropout, ridge start, early stop on an inner section.

Dimensions: ``b`` spots of a batch · ``n`` spots · ``g`` predicted genes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from biolm.errors import ConfigError, TrainingError
from biolm.models.systems.gene_image import MODES, GeneImageConfig, GeneImageModel, Prediction, SpotBatch
from biolm.objectives.pairs import Temperature, score_pairs
from biolm.scoring.expression import pearson_columns
from biolm.training.spatial.arrays import SpotArrays
from biolm.training.spatial.settings import FitSettings

__all__ = ["Fitted", "fit", "predict_arrays"]

ALPHAS = np.logspace(0, 5, 16)
MOST_PARAMETERS = 1_000_000
SLOWLY = 0.02


@dataclass(slots=True)
class Fitted:
    """A trained model and how it came about.

    Parameters
    ----------
    model
        In evaluation mode, with the weights of the best epoch.
    history
        One entry an epoch: losses, the contrastive loss beside chance, and the inner section's scores.
    epochs
        Of the best epoch.
    """

    model: GeneImageModel
    history: list[dict[str, float]] = field(default_factory=list)
    epochs: int = 0


def fit(
    config: GeneImageConfig,
    training: SpotArrays,
    inner: SpotArrays | None,
    settings: FitSettings,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: str = "cpu",
) -> Fitted:
    """Train a model.

    Parameters
    ----------
    config
        Its shape.
    training
        Spots to learn from.
    inner
        A section that only decides when to stop; without one, ``epochs`` does.
    settings
        See there.
    seed
        Of weights, order and dropout.
    epochs
        Train exactly so many.
    device
        Where.

    Raises
    ------
    ConfigError
        If the model has more than a million parameters.
    TrainingError
        If the loss is NaN.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GeneImageModel(config)
        if model.trained_parameters() > MOST_PARAMETERS:
            raise ConfigError(
                f"the model would train {model.trained_parameters():,} numbers, more than few sections can "
                "tell; make width, layers or gene tokens smaller"
            )
        if settings.ridge_start:
            ridge_start(model, training)
        temperature = Temperature(0.1, learned=True)
        model.to(device), temperature.to(device)
        optimiser = _optimiser(model, temperature, settings)
        rng = np.random.default_rng(seed)
        done = Fitted(model)
        # The ridge solution itself may be the best model, then with 0 epochs.
        best, best_state, since = -math.inf, copy.deepcopy(model.state_dict()), 0
        if inner is not None:
            best = _inner_score(model, inner, done, device)
        for epoch in range(settings.epochs if epochs is None else epochs):
            losses = _epoch(model, temperature, optimiser, training, settings, rng)
            done.history.append(losses)
            if inner is None:
                done.epochs = epoch + 1
                continue
            score = _inner_score(model, inner, done, device)
            since += 1
            # Less than that is noise of single spots.
            if score > best + 1e-4:
                best, best_state, since, done.epochs = score, copy.deepcopy(model.state_dict()), 0, epoch + 1
            if since >= settings.patience:
                break
        if inner is not None:
            model.load_state_dict(best_state)
        model.eval()
    return done


def _optimiser(
    model: GeneImageModel, temperature: Temperature, settings: FitSettings
) -> torch.optim.Optimizer:
    """AdamW; read-outs that start at their solution move slowly and are not pulled to zero."""
    solved = list(model.linear.parameters()) if settings.ridge_start else []
    solved_ids = {id(parameter) for parameter in solved}
    others = [p for p in (*model.parameters(), *temperature.parameters()) if id(p) not in solved_ids]
    groups: list[dict[str, Any]] = [{"params": others}]
    if solved:
        groups.append({"params": solved, "lr": settings.lr * SLOWLY, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def _epoch(
    model: GeneImageModel,
    temperature: Temperature,
    optimiser: torch.optim.Optimizer,
    arrays: SpotArrays,
    settings: FitSettings,
    rng: np.random.Generator,
) -> dict[str, float]:
    """One pass over the spots; mean losses."""
    model.train()
    sums: dict[str, float] = {}
    order = rng.permutation(len(arrays))
    steps = [order[start : start + settings.batch] for start in range(0, len(order), settings.batch)]
    device = next(model.parameters()).device
    for rows in steps:
        rows, genes, image = _visible(rows, arrays, settings, rng)
        batch = SpotBatch(*(column.to(device) for column in arrays.batch(rows).seeing(genes, image)))
        prediction = model(batch)
        losses = _losses(prediction, batch, arrays, rows, settings, temperature)
        loss = losses["loss"]
        if not torch.isfinite(loss):
            raise TrainingError("the loss is NaN; make lr smaller")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(steps)
    return sums


def _visible(
    rows: NDArray[np.int64], arrays: SpotArrays, settings: FitSettings, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Tensor, Tensor]:
    """Which side each spot of a batch comes with; a spot that would lose both keeps both."""
    draw = rng.random((2, len(rows)))
    image = draw[0] >= settings.drop_image
    # A spot without an image never loses its genes too.
    genes = (draw[1] >= settings.drop_genes) | ~arrays.has_image[rows]
    neither = ~genes & ~image
    genes, image = genes | neither, image | neither
    # Spots of one kind stand together: attention then runs once a kind instead of once a spot.
    order = np.lexsort((image & arrays.has_image[rows], genes))
    return rows[order], torch.from_numpy(genes[order]), torch.from_numpy(image[order])


def _losses(
    prediction: Prediction,
    batch: SpotBatch,
    arrays: SpotArrays,
    rows: NDArray[np.int64],
    settings: FitSettings,
    temperature: Temperature,
) -> dict[str, Tensor]:
    """The weighted sum and its parts."""
    assert arrays.expression is not None
    assert arrays.raw is not None
    device = prediction.expression.device
    wanted, raw = (torch.from_numpy(column[rows]).to(device) for column in (arrays.expression, arrays.raw))
    losses = {"expression": F.mse_loss(prediction.expression, wanted), "raw": F.mse_loss(prediction.raw, raw)}
    loss = losses["expression"] + settings.raw * losses["raw"]
    usable = batch.has_genes & batch.has_image
    if settings.contrast and int(usable.sum()) > 1:
        score = score_pairs(
            prediction.gene_vector, prediction.image_vector, temperature(), usable=usable, everywhere=False
        )
        losses["contrast"] = score.terms["loss"].mean
        # Printed beside the loss: a contrast that stays at log(batch) has learned nothing.
        losses["contrast_chance"] = score.metrics["chance"].mean
        loss = loss + settings.contrast * losses["contrast"]
    if settings.niche and arrays.niche is not None:
        fractions = torch.from_numpy(arrays.niche[rows]).to(device)
        known = ~fractions.isnan().any(1)
        if bool(known.any()):
            losses["niche"] = F.cross_entropy(prediction.niche[known], fractions[known])
            loss = loss + settings.niche * losses["niche"]
    return {"loss": loss, **losses}


def ridge_start(model: GeneImageModel, arrays: SpotArrays) -> None:
    """Set the linear read-outs to their ridge solutions, the penalty by generalised cross-validation."""
    from sklearn.linear_model import RidgeCV

    assert arrays.expression is not None
    assert arrays.raw is not None
    wanted = np.concatenate((arrays.expression, arrays.raw), 1).astype(np.float64)
    patch = arrays.image[:, :2].reshape(len(arrays), -1)
    inputs = {"genes": arrays.scores, "image": patch, "both": np.concatenate((arrays.scores, patch), 1)}
    half = arrays.expression.shape[1]
    with torch.no_grad():
        for mode in MODES:
            rows = np.ones(len(arrays), bool) if mode == "genes" else arrays.has_image
            layer: Any = model.linear[mode]
            for part in (slice(0, half), slice(half, None)):
                # Too few to choose a penalty on; zero says the mean, which standardised targets have at 0.
                if rows.sum() < 8:
                    layer.weight[part].zero_()
                    layer.bias[part].zero_()
                    continue
                solved = RidgeCV(ALPHAS).fit(inputs[mode][rows].astype(np.float64), wanted[rows][:, part])
                layer.weight[part] = torch.from_numpy(np.asarray(solved.coef_)).float()
                layer.bias[part] = torch.from_numpy(np.asarray(solved.intercept_)).float()


def _inner_score(model: GeneImageModel, inner: SpotArrays, done: Fitted, device: str) -> float:
    """Mean of the inner section's correlations from genes, image and both; noted in the history."""
    wanted = inner.expression
    scores = {
        mode: float(pearson_columns(predict_arrays(model, inner, mode, device).expression, wanted).mean())
        for mode in (MODES if inner.has_image.any() else ("genes",))
    }
    if done.history:
        done.history[-1] |= {f"inner_{mode}": value for mode, value in scores.items()}
    return float(np.mean(list(scores.values())))


@dataclass(frozen=True, slots=True)
class ArrayPrediction:
    """Predictions of all spots, as arrays; see :class:`~biolm.models.systems.gene_image.Prediction`."""

    expression: NDArray[np.float32]
    raw: NDArray[np.float32]
    niche: NDArray[np.float32]
    gene_vector: NDArray[np.float32]
    image_vector: NDArray[np.float32]
    fused: NDArray[np.float32]


def predict_arrays(
    model: GeneImageModel,
    arrays: SpotArrays,
    mode: str = "both",
    device: str = "cpu",
    *,
    image_of: NDArray[np.int64] | None = None,
    batch: int = 256,
) -> ArrayPrediction:
    """Predict every spot from its genes, its image or both.

    Parameters
    ----------
    model
        The model.
    arrays
        The spots.
    mode
        ``genes``, ``image`` or ``both``.
    device
        Where.
    image_of
        ``(n,)`` the spot whose image each spot is given, for controls.
    batch
        Spots at a time.

    Raises
    ------
    ConfigError
        For another mode.
    """
    if mode not in MODES:
        raise ConfigError(f"predict from {', '.join(MODES)}, not {mode!r}")
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(arrays), batch):
            rows = np.arange(start, min(start + batch, len(arrays)))
            looks = None if image_of is None else image_of[rows]
            given = arrays.batch(rows, image_of=looks).seeing(mode != "image", mode != "genes")
            out = model(SpotBatch(*(column.to(device) for column in given)))
            parts.append(tuple(column.float().cpu().numpy() for column in out))
    return ArrayPrediction(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
