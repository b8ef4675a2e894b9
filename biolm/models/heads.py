"""Heads beside a core: what objectives learned, saved with the model and asked for predictions.

``heads.json`` holds the objectives' settings and the names of classes, ``heads.safetensors`` the weights.

Dimensions: ``n`` examples · ``u`` tokens of all of them · ``c`` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.batch import Batch, Tokens, pack
from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import load_strict, read_weights, write_weights
from biolm.errors import CheckpointError, ConfigError
from biolm.io.json_file import read_json
from biolm.objectives.base import Criterion, Metadata, Prepared
from biolm.objectives.registry import make_all
from biolm.objectives.weighted import Weighted

__all__ = ["HeadMetadata", "Heads", "load_heads", "save_heads"]

_METADATA, _WEIGHTS = "heads.json", "heads.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMetadata:
    """All but the weights.

    Parameters
    ----------
    objectives
        Settings by name, as in the config of the run.
    classes
        Names of the classes of each label column that has any.
    counts, moments, special_ids, mask_id
        See :class:`~biolm.objectives.base.Metadata`.
    """

    objectives: Mapping[str, Mapping[str, Any]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    moments: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    special_ids: tuple[int, ...] = ()
    mask_id: int | None = None

    def make(self, core: CoreConfig) -> Criterion:
        """The objective with fresh weights.

        Raises
        ------
        ConfigError
            If a setting is unknown or does not fit the core.
        """
        metadata = Metadata(
            core=core,
            special_ids=self.special_ids,
            mask_id=self.mask_id,
            classes={name: len(names) for name, names in self.classes.items()},
            counts=self.counts,
            moments=self.moments,
        )
        return make_all(self.objectives, metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Learned heads.

    Parameters
    ----------
    metadata
        What they were made of.
    objective
        The modules with their weights; several are a :class:`~biolm.objectives.weighted.Weighted`.
    """

    metadata: HeadMetadata
    objective: Criterion

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes of each label column that has any, in the order of the logits."""
        return self.metadata.classes

    @torch.inference_mode()
    def predict(
        self, core: Transformer, tokens: Tokens, *, batch_tokens: int = 16_384, device: str = "auto"
    ) -> dict[str, NDArray[np.float32]]:
        """What the heads say of each label column.

        Parameters
        ----------
        core
            The core they were trained on.
        tokens
            Examples, as the model's tokeniser makes them.
        batch_tokens
            Tokens packed into one batch.
        device
            ``auto`` or a torch device name.

        Returns
        -------
        For each label column logits ``(n, c)`` or numbers ``(n,)``; ``(u, c)`` or ``(u,)`` in the order of
        the tokens where tokens are labelled. Examples without a token are NaN.

        Raises
        ------
        ConfigError
            If no objective predicts a label.
        """
        from biolm.models.running import pick_device

        where = pick_device(device)
        core = core.to(where).eval()
        self.objective.to(where).eval()
        by_name: dict[str, NDArray[np.float32]] = {}
        by_token = _token_columns(self.objective)
        # An example without tokens has no vector: its predictions stay NaN.
        filled = np.flatnonzero(tokens.lengths > 0)
        for chosen in pack(tokens.take(filled), batch_tokens):
            rows = filled[chosen]
            batch = Batch.from_tokens(tokens, rows).to(where)
            prepared = Prepared(batch=batch, original=batch, keys=batch.index)
            predictions = self.objective.predictions(core(batch, logits=False), prepared)
            if not predictions:
                # Objectives such as masked tokens have heads too, but none of a label.
                raise ConfigError("no objective of this model predicts a label; train one with classify")
            places = np.concatenate([np.arange(*tokens.offsets[row : row + 2]) for row in rows])
            for name, values in predictions.items():
                size = len(tokens.ids) if name in by_token else len(tokens)
                whole = by_name.setdefault(name, np.full((size, *values.shape[1:]), np.nan, np.float32))
                whole[places if name in by_token else rows] = values.float().cpu().numpy()
        return by_name


def save_heads(folder: Path, metadata: HeadMetadata, weights: Mapping[str, Tensor]) -> None:
    """Write both files into a folder; nothing where there are no weights.

    Parameters
    ----------
    folder
        That is there.
    metadata
        What the heads are made of.
    weights
        By name.
    """
    if weights:
        (folder / _METADATA).write_text(json.dumps(asdict(metadata), indent=1) + "\n", encoding="utf-8")
        write_weights(folder / _WEIGHTS, weights)


def load_heads(folder: Path, core: CoreConfig) -> Heads | None:
    """Heads of a folder; None where it has none.

    Parameters
    ----------
    folder
        Of the model.
    core
        Its config.

    Raises
    ------
    CheckpointError
        If a file is damaged, or the weights do not fit.
    """
    if not (folder / _METADATA).is_file():
        return None
    values = read_json(folder / _METADATA)
    try:
        metadata = HeadMetadata(
            objectives=values["objectives"],
            classes={name: tuple(names) for name, names in values["classes"].items()},
            counts={name: tuple(counts) for name, counts in values["counts"].items()},
            moments={name: (mean, std) for name, (mean, std) in values["moments"].items()},
            special_ids=tuple(values["special_ids"]),
            mask_id=values["mask_id"],
        )
        objective = metadata.make(core)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{folder / _METADATA} is damaged ({error}); train or copy it again") from error
    load_strict(objective, read_weights([folder / _WEIGHTS]), folder / _WEIGHTS)
    return Heads(metadata=metadata, objective=objective.eval())


def _token_columns(objective: Criterion) -> set[str]:
    """Label columns of tokens."""
    parts = objective.parts_by_name().values() if isinstance(objective, Weighted) else [objective]
    return {
        name
        for part in parts
        if getattr(part.settings, "level", "example") == "token"
        for name in part.columns
    }
