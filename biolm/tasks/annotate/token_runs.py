"""What annotators that train a model share: tokens, the settings of a run, which models can be trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from biolm.batch import Tokens
from biolm.errors import BiolmError, ConfigError
from biolm.jobs.cells import CellEmbedding
from biolm.tasks.annotate.settings import FitSettings

__all__ = ["BATCH_TOKENS", "check_trainable", "read_tokens", "run_settings"]

BATCH_TOKENS = 8192
_RATES = {"head": 3e-3, "lora": 5e-4, "full": 1e-4}
_ADVICE = (
    "use its vectors as they are (method linear, knn or head), or train biolm-cell-mini, Geneformer, scGPT, "
    "Tahoe-x1, tGPT, scBERT, scConcept, ESM-2 or a model of biolm pretrain"
)


def check_trainable(model: Any, settings: FitSettings) -> None:
    """Refuse a model whose weights cannot be trained, or not saved so that its vectors stay what they are.

    Parameters
    ----------
    model
        As it was loaded.
    settings
        Choices of the job; ``head`` leaves the model as it is.

    Raises
    ------
    ConfigError
        If ``lora`` or ``full`` is chosen and the model cannot be trained.
    """
    if settings.method == "head":
        return
    from biolm.models.headed import Headed
    from biolm.models.native import preprocessor_metadata
    from biolm.training.run.start import check_vocabulary

    name = model.name
    if not isinstance(model, Headed):
        raise ConfigError(f"model {name} has no layers to train; {_ADVICE}")
    # The general model of its kind of data, which a saved folder is read as.
    base = next(each for each in reversed(type(model).__mro__) if issubclass(each, Headed) and each != Headed)
    reader: Any = model
    ways = ("tokenize", "embed", "embed_tokens", "batch_vectors", "_vectors")
    # A subclass that changes one of these would be saved without that change: the folder holds no code.
    own = any(getattr(type(model), way, None) is not getattr(base, way, None) for way in ways)
    if own or getattr(reader, "state", None) is not None:
        raise ConfigError(
            f"model {name} makes its vectors in a way of its own, which trained weights could not be "
            f"saved with; {_ADVICE}"
        )
    try:
        preprocessor_metadata(reader.preprocessor)
        check_vocabulary(reader)
    except BiolmError as error:
        raise ConfigError(f"model {name} cannot be saved once it is trained; {_ADVICE}") from error


def read_tokens(job: CellEmbedding) -> Tokens:
    """Tokens of every cell of a job, in memory."""
    parts = [job.model.tokenize(block, job.match, seed=job.settings.seed) for block in job.source.blocks()]
    lengths = np.concatenate([part.lengths for part in parts])
    columns = {
        name: None
        if getattr(parts[0], name) is None
        else np.concatenate([getattr(part, name) for part in parts])
        for name in ("values", "segments")
    }
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        index=np.arange(len(lengths)),
        **columns,
    )


def run_settings(cells: int, tokens: Tokens, settings: FitSettings) -> dict[str, Any]:
    """Settings of the run: validated about once an epoch, stopped when that gets no better.

    Parameters
    ----------
    cells
        How many there are to train on.
    tokens
        Of them.
    settings
        Choices of the job.
    """
    chosen: dict[str, Any] = {"head": {"freeze": "all"}, "lora": {"lora": {"rank": 8}}, "full": {}}
    # Training keeps activations for the backward pass, so its batches are smaller than those of embedding.
    budget = min(settings.batch_tokens, BATCH_TOKENS)
    steps = max(1, int(tokens.lengths.mean() * cells / budget))
    return {
        "model": chosen[settings.method],
        "optimiser": {"lr": settings.rate or _RATES[settings.method]},
        "data": {"batch_tokens": budget},
        "trainer": {
            "max_epochs": settings.epochs,
            "patience": 3,
            "validate_every": steps,
            "accelerator": {"cuda": "gpu"}.get(settings.device.partition(":")[0], settings.device),
        },
        "seed": settings.seed,
    }
