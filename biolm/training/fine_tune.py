"""Fine-tune from Python: tokens and label arrays in memory, a model that predicts out.

Dimensions: ``n`` examples · ``u`` tokens of all of them · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.batch import Tokens
from biolm.core import Transformer
from biolm.core.lora import fold_lora
from biolm.errors import ConfigError
from biolm.io.atomic import replacing_folder
from biolm.models.headed import Headed
from biolm.models.heads import Heads
from biolm.models.native import Saved, save
from biolm.models.registry import load
from biolm.models.sequence_model import SequenceModel
from biolm.models.token_model import TokenCellModel
from biolm.training.config.read import build
from biolm.training.data.examples import Examples
from biolm.training.data.labels import LabelColumn, Labels
from biolm.training.run.job import Job, head_metadata, plan_job, read_kinds
from biolm.training.run.module import Pretraining
from biolm.training.run.start import start_of
from biolm.training.run.train import make_module, run_job, saved_of

__all__ = ["FineTuned", "TokenExamples", "fine_tune"]

_DEFAULTS: dict[str, Any] = {
    "optimiser": {"lr": 1e-4},
    "trainer": {"max_epochs": 10, "validate_every": 100, "checkpoint_every": 1_000_000},
}


class TokenExamples(Examples):
    """Tokens in memory as examples of a run.

    Parameters
    ----------
    tokens
        ``n`` examples; their numbers are 0 to ``n - 1``, whatever ``index`` says.
    """

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = replace(tokens, index=np.arange(len(tokens)))

    def read(self, rows: NDArray[np.int64]) -> Tokens:
        """Tokens of the examples ``rows``."""
        return self.tokens.take(rows)

    def blocks(self) -> Iterator[Tokens]:
        """All at once."""
        yield self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """A model with the heads it learned.

    Parameters
    ----------
    core, heads
        With their weights, ready to predict; low-rank updates are part of the weights.
    scores
        Of the validation of these weights, by name; empty where nothing was held out.
    steps
        Optimiser steps done.
    saved
        What goes into a folder beside the weights; None for a bare core.
    """

    core: Transformer
    heads: Heads
    scores: dict[str, float]
    steps: int
    saved: Saved | None = None

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes of each label column, in the order of its logits."""
        return self.heads.classes

    def predict(
        self, tokens: Tokens, *, batch_tokens: int = 16_384, device: str = "auto"
    ) -> dict[str, NDArray[np.float32]]:
        """Logits ``(n, c)`` or numbers ``(n,)`` of each label column, packed batch by packed batch.

        ``(u, c)`` or ``(u,)`` where tokens are labelled. Examples without a token are NaN.

        Parameters
        ----------
        tokens
            Packed examples.
        batch_tokens
            Most tokens of a batch.
        device
            Where it runs.
        """
        return self.heads.predict(self.core, tokens, batch_tokens=batch_tokens, device=device)

    def save(self, folder: str | Path) -> None:
        """Write a folder that :func:`biolm.load` opens, heads included; it is made.

        Raises
        ------
        ConfigError
            If the model is a bare core, so that there is no tokeniser to save.
        """
        if self.saved is None:
            raise ConfigError("a bare core has no tokeniser to save; keep its weights with save_file")
        with replacing_folder(Path(folder), "config.json", overwrite=True) as target:
            save(target, self.saved, self.core.state_dict(), self.heads.objective.state_dict())


def fine_tune(
    model: TokenCellModel | SequenceModel | Transformer | str | Path,
    tokens: Tokens,
    labels: Mapping[str, ArrayLike | LabelColumn],
    *,
    objectives: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    held_out: NDArray[np.bool_] | None = None,
    special_ids: tuple[int, ...] = (),
    folder: str | Path | None = None,
) -> FineTuned:
    """Train heads, and as much of the core as is wanted, on labelled tokens in memory.

    Parameters
    ----------
    model
        A model of cells or sequences, the folder of one, or a bare core; it stays as it is.
    tokens
        ``n`` examples, as the model's tokeniser makes them.
    labels
        By column: ``(n,)`` text, categories, whole numbers or booleans (classes) or numbers; None, NaN and ''
        are missing. A list of ``n`` arrays labels each token.
    objectives
        As in a config; several are added up by their ``weight``. By default each column of floats is
        regressed, each other classified, on vectors pooled as the model itself does.
    settings
        Sections of :class:`~biolm.training.config.RunConfig`, such as ``{"optimiser": {"lr": 1e-4},
        "trainer": {"max_epochs": 5, "patience": 3}, "model": {"lora": {"rank": 8}, "freeze": None}, "data":
        {"batch_tokens": 8192, "validation": 0.1}, "seed": 1}``.
    held_out
        ``(n,)`` examples to validate on; by default a fraction ``data.validation`` of them is drawn.
    special_ids
        Of a bare core: token ids that means over tokens leave out.
    folder
        Keeps metrics and checkpoints there; a temporary folder by default.

    Returns
    -------
    The model with its heads; ``predict(tokens)`` gives logits, ``classes`` the names of their columns.

    Raises
    ------
    ConfigError
        If a setting is unknown or impossible, or a column is missing.
    InputError
        If there are no labels, or all are the same.

    Examples
    --------
    >>> model = biolm.load("runs/first/model")  # doctest: +SKIP
    >>> tuned = fine_tune(model, tokens, {"cell_type": adata.obs["cell_type"]})  # doctest: +SKIP
    >>> logits = tuned.predict(other_tokens)["cell_type"]  # doctest: +SKIP
    """
    base = load(model) if isinstance(model, str | Path) else model
    if not isinstance(base, Headed | Transformer):
        raise ConfigError(
            "this model reads no tokens to learn from; use geneformer, scgpt, a model of sequences, your own"
        )
    # A head reads vectors before they are brought to length 1, which takes their size away.
    pool = "mean" if isinstance(base, Transformer) else base.pools[0].removesuffix("_l2")
    chosen = {name: _default(name, column, pool) for name, column in labels.items()}
    values = _merged(_DEFAULTS, settings or {})
    values["objectives"] = dict(objectives) if objectives is not None else chosen
    values.setdefault("data", {})
    config = build(values)
    if config.trainer.strategy == "fsdp":
        raise ConfigError(
            "fine_tune keeps the model whole in memory; for fsdp use biolm pretrain and model.start"
        )
    start = start_of(base, config.model, special_ids)
    kinds = read_kinds(config.objectives)
    job = plan_job(
        config,
        TokenExamples(tokens),
        start.vocabulary,
        labels=Labels.of_arrays(labels, kinds, n=len(tokens)) if kinds else None,
        start=start,
        held_out=held_out,
    )
    if folder is not None:
        return _run(job, Path(folder))
    with TemporaryDirectory(prefix="biolm-") as temporary:
        return _run(job, Path(temporary) / "run")


def _run(job: Job, folder: Path) -> FineTuned:
    folder.mkdir(parents=True, exist_ok=True)
    module: Pretraining = make_module(job, folder)
    result = run_job(job, module, folder)
    # Back to the CPU, where models are held until someone asks for a device.
    core, objective = module.core.cpu(), module.objective.cpu()
    fold_lora(core)
    # What this run froze may be trained by the next one.
    for part in (core, objective):
        part.requires_grad_(True).eval()
    heads = Heads(metadata=head_metadata(job), objective=objective)
    return FineTuned(core=core, heads=heads, scores=result.scores, steps=result.steps, saved=saved_of(job))


def _default(name: str, column: Any, pool: str) -> dict[str, Any]:
    """The objective of a column that none was named for."""
    if isinstance(column, LabelColumn):
        number, by_token = not column.classes, column.level != "example"
    else:
        by_token = isinstance(column, list | tuple) and len(column) > 0 and np.ndim(column[0]) == 1
        # Whole numbers are classes: a cell type may well be coded as 3.
        number = np.asarray(column[0] if by_token else column).dtype.kind == "f"
    kind = "regress" if number else "classify"
    return {"objective": kind, "column": name, "pool": pool, "level": "token" if by_token else "example"}


def _merged(defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings over plain defaults, section by section."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in defaults.items()}
    for key, value in chosen.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            value = _merged(under, value)
        merged[key] = value
    return merged
