"""Where a run starts: the weights, vocabulary and tokeniser of a model, and which of its weights learn.

Dimensions: ``i`` input width · ``o`` output width · ``r`` rank.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from biolm.core import CoreConfig, Transformer
from biolm.core.lora import LoraLinear, add_lora
from biolm.errors import ConfigError
from biolm.models.headed import Headed
from biolm.models.heads import HeadMetadata, Heads
from biolm.models.native import read_vocabulary
from biolm.models.registry import load
from biolm.models.sequence_model import SequenceModel
from biolm.models.token_model import TokenCellModel
from biolm.objectives.base import Criterion
from biolm.objectives.weighted import Weighted
from biolm.settings import read_fields
from biolm.training.config import ModelConfig
from biolm.training.data.vocabulary import Vocabulary, with_settings

__all__ = ["Start", "adapt", "check_vocabulary", "load_start", "plain_weights", "reuse_heads", "start_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A model to go on from.

    Parameters
    ----------
    core
        Its weights; a copy of its own.
    vocabulary
        Its tokens and tokeniser.
    pool, hidden_state
        How it makes a cell's vector.
    heads
        Its heads beside the core, where it has any.
    """

    core: Transformer
    vocabulary: Vocabulary
    pool: str = "mean"
    hidden_state: int = -1
    heads: Heads | None = None


def load_start(config: ModelConfig) -> Start:
    """The model that ``model.start`` names.

    Raises
    ------
    ConfigError
        If it reads no tokens, or ``model.core`` asks for another shape.
    CheckpointError
        If its folder is damaged.
    """
    assert config.start is not None
    inside = Path(config.start).expanduser() / "model"
    if (inside / "config.json").is_file():
        raise ConfigError(f"model.start {config.start} is the folder of a run; its model is {inside}")
    loaded = load(config.start)
    if not isinstance(loaded, Headed):
        raise ConfigError(
            f"model.start {config.start!r} has no core that reads cells or sequences as tokens; give "
            "the folder of a model of biolm pretrain, Geneformer, scGPT, or one of sequences such as ESM-2"
        )
    return start_of(loaded, config)


def start_of(
    model: TokenCellModel | SequenceModel | Transformer,
    config: ModelConfig,
    special_ids: tuple[int, ...] = (),
) -> Start:
    """What a run takes of a model that is loaded already; the model itself stays as it is.

    Parameters
    ----------
    model
        A model of cells or sequences, or a bare core.
    config
        Its ``core`` may hold other dropout rates, its ``tokenizer`` other settings of the tokeniser.
    special_ids
        Of a bare core: token ids that are never masked, drawn or averaged.

    Raises
    ------
    ConfigError
        If a setting is unknown, or would change the core's shape.
    """
    if isinstance(model, Transformer):
        core = _with_dropout(model, config.core)
        tokens = {f"<{number}>": number for number in special_ids}
        if core.config.mask_id is not None:
            tokens["<mask>"] = core.config.mask_id
        return Start(core=core, vocabulary=Vocabulary.of_genes(None, tokens))
    vocabularies: dict[str, Callable[[Any, ModelConfig], Vocabulary]] = {
        "sequences": _of_sequences,
        "cells": _of_cells,
    }
    return Start(
        core=_with_dropout(model.core, config.core),
        vocabulary=vocabularies[model.modality](model, config),
        pool=model.pools[0],
        hidden_state=model.hidden_state,
        heads=model.heads,
    )


def _of_cells(model: TokenCellModel, config: ModelConfig) -> Vocabulary:
    """The genes and tokeniser of a model, with other settings where they are given."""
    preprocessor = with_settings(model.preprocessor, config.tokenizer)
    return Vocabulary.of_genes(preprocessor, _tokens_of(model))


def _of_sequences(model: SequenceModel, config: ModelConfig) -> Vocabulary:
    """The tokeniser of a model, and the longest example: its own limit or a shorter one that was chosen."""
    for key in config.tokenizer:
        if key != "max_length":
            raise ConfigError(
                f"model.tokenizer.{key} is fixed by the model to start from; only max_length may be another"
            )
    own = model.max_length
    longest = config.tokenizer.get("max_length", own or config.max_length)
    if not isinstance(longest, int) or longest < 1 or (own is not None and longest > own):
        limit = "" if own is None else f" of at most {own}"
        raise ConfigError(f"model.tokenizer.max_length must be a whole number{limit}, not {longest!r}")
    return Vocabulary.of_alphabet(replace(model.preprocessor, max_length=longest))


def adapt(core: Transformer, config: ModelConfig, *, uses_head: bool) -> None:
    """Freeze what is not to learn, and put low-rank adapters where they are asked for, in place.

    Parameters
    ----------
    core
        With the weights to start from.
    config
        Its ``lora`` and ``freeze``.
    uses_head
        Whether an objective reads the core's logits; a head that nothing reads is frozen.

    Raises
    ------
    ConfigError
        If a name of ``lora`` fits no layer, or there are fewer layers than are to be frozen.
    """
    # A head without a loss has no gradient, which ddp refuses.
    if core.head is not None and not uses_head:
        core.head.requires_grad_(False)
    if config.lora is not None:
        add_lora(core, config.lora)
    if config.freeze is None:
        return
    if config.freeze == "all":
        core.requires_grad_(False)
        return
    # With some layers frozen the embeddings are too: below a frozen layer nothing should move.
    core.embeddings.requires_grad_(False)
    if isinstance(config.freeze, int):
        if config.freeze > len(core.layers):
            raise ConfigError(
                f"model.freeze asks for {config.freeze} layers, but the model has {len(core.layers)}"
            )
        core.layers[: config.freeze].requires_grad_(False)


def plain_weights(core: Transformer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a core as one without adapters has them: ``W (o, i) + scale * up (o, r) @ down (r, i)``.

    Parameters
    ----------
    core
        With adapters.
    tensors
        Its weights by name.
    """
    weights = dict(tensors)
    for name, module in core.named_modules():
        if isinstance(module, LoraLinear):
            up, down = weights.pop(f"{name}.up"), weights.pop(f"{name}.down")
            # Added up, the model runs as fast as before and needs no code of LoRA.
            weights[f"{name}.weight"] = weights.pop(f"{name}.base.weight") + module.scale * (up @ down)
            if module.base.bias is not None:
                weights[f"{name}.bias"] = weights.pop(f"{name}.base.bias")
    return weights


def reuse_heads(objective: Criterion, made_of: HeadMetadata, heads: Heads) -> list[str]:
    """Put the weights of earlier heads into those that are made the same way: settings and classes alike.

    Parameters
    ----------
    objective
        With new heads.
    made_of
        What these are made of.
    heads
        Earlier ones.

    Returns
    -------
    Names of the objectives that go on with theirs; the others begin anew.
    """
    now, before = _by_name(objective, made_of), _by_name(heads.objective, heads.metadata)
    reused = []
    for name, part in now.items():
        old = before.get(name)
        if old is None or made_of.objectives[name] != heads.metadata.objectives[name]:
            continue
        # The same classes in another order are another head.
        same = all(made_of.classes.get(column) == heads.classes.get(column) for column in part.columns)
        if same and part.state_dict():
            part.load_state_dict(old.state_dict())
            reused.append(name)
    return reused


def _by_name(objective: Criterion, metadata: HeadMetadata) -> dict[str, Criterion]:
    if isinstance(objective, Weighted):
        return {**objective.parts_by_name()}
    return dict.fromkeys(metadata.objectives, objective)


def _with_dropout(core: Transformer, chosen: Mapping[str, Any]) -> Transformer:
    """A copy of a core with other dropout rates."""
    chosen = read_fields(CoreConfig, chosen, "model.core")
    for key in chosen:
        if not key.startswith("dropout") and chosen[key] != getattr(core.config, key):
            raise ConfigError(
                f"model.core.{key} is {getattr(core.config, key)!r} in the model to start from, which "
                "fixes it; leave it out (dropout rates may differ)"
            )
    if not chosen:
        return copy.deepcopy(core)
    # Dropout is built into the layers, so a rate is changed by building them anew.
    fresh = Transformer(replace(core.config, **chosen))
    fresh.load_state_dict(core.state_dict())
    return fresh


def check_vocabulary(model: TokenCellModel | SequenceModel) -> None:
    """Refuse a model whose vocabulary could not be saved with trained weights.

    Raises
    ------
    ConfigError
        If it is in no file.
    """
    if isinstance(model, TokenCellModel):
        _tokens_of(model)


def _tokens_of(model: TokenCellModel) -> dict[str, int]:
    """Token to id: of the file that the vocabulary was read from, or of the tokeniser itself."""
    for path in model.preprocessor.files:
        if path.name == "vocab.json" or "token_dictionary" in path.name:
            return read_vocabulary(path.parent)
    preprocessor: Any = model.preprocessor
    # A system with a class of its own makes its vectors in a way that a folder of biolm does not hold.
    if type(model) is TokenCellModel and hasattr(preprocessor.tokenizer, "token_ids"):
        genes = dict(
            zip(preprocessor.vocabulary.genes, map(int, preprocessor.tokenizer.token_ids), strict=True)
        )
        others = set(range(model.core.config.vocab_size)) - set(genes.values())
        return {f"<{number}>": number for number in sorted(others)} | genes
    raise ConfigError(
        f"model {model.name} cannot be trained further: its genes and tokens are in no file that could be "
        "saved with the new weights; use its vectors as they are (biolm annotate fit, method linear or knn), "
        "or start from biolm-cell-mini, Geneformer, scGPT, Tahoe-x1, tGPT, scBERT, scConcept or a model of "
        "biolm pretrain"
    )
