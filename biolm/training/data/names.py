"""Genes and classes by name, where objectives want numbers: designed panels, related cell types."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from biolm.errors import ConfigError, GeneMatchError
from biolm.settings import nearest
from biolm.training.data.vocabulary import Vocabulary

__all__ = ["numbered"]

log = logging.getLogger("biolm")


def numbered(
    objectives: Mapping[str, Mapping[str, Any]],
    vocabulary: Vocabulary,
    classes: Mapping[str, tuple[str, ...]],
) -> dict[str, dict[str, Any]]:
    """The settings of objectives with token ids and class numbers in place of names.

    Parameters
    ----------
    objectives
        Settings by name, as in the config.
    vocabulary
        Its genes; names are found as those of a file are, older symbols and Ensembl ids too.
    classes
        Names of the classes of each label column.

    Raises
    ------
    ConfigError
        If a panel has no known gene, a file of a panel cannot be read, or a class is unknown.
    """
    described = {}
    for name, settings in objectives.items():
        kind, chosen = settings.get("objective", name), dict(settings)
        if kind == "panel_contrast" and isinstance(chosen.get("panels"), list | tuple):
            chosen["panels"] = [_panel(panel, vocabulary) for panel in chosen["panels"]]
        if kind == "triplet" and isinstance(chosen.get("related"), list | tuple):
            known = classes.get(chosen.get("column", "cell_type"), ())
            chosen["related"] = [[_class(each, known) for each in pair] for pair in chosen["related"]]
        described[name] = chosen
    return described


def _panel(panel: Any, vocabulary: Vocabulary) -> list[int]:
    """Token ids of a panel: numbers stay, names are looked up, a ``.txt`` file is read."""
    genes = _read(panel) if isinstance(panel, str) else list(panel)
    numbers = [gene for gene in genes if isinstance(gene, int)]
    names = [gene for gene in genes if isinstance(gene, str)]
    if not names:
        return numbers
    preprocessor = vocabulary.genes
    if preprocessor is None:
        raise ConfigError(f"the panel with {names[0]!r} names genes, but the data hold none; leave it out")
    try:
        # Panels name genes that a tissue does not express: any part of one will do.
        match = preprocessor.vocabulary.match({"index": np.array(names)}, minimum=0.0)
    except GeneMatchError as error:
        raise ConfigError(f"the vocabulary has no gene of the panel that begins with {names[0]!r}") from error
    known = match.target[match.target >= 0]
    tokenizer: Any = preprocessor.tokenizer
    log.info("%d of %d genes of a panel are in the vocabulary", len(known), len(names))
    return [*numbers, *np.asarray(tokenizer.token_ids)[known].tolist()]


def _read(path: str) -> list[str]:
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"panel {path!r} is no list of genes and no text file that can be read") from error
    return [line.strip() for line in lines if line.strip()]


def _class(each: Any, known: tuple[str, ...]) -> Any:
    if not isinstance(each, str):
        return each
    if each not in known:
        raise ConfigError(
            f"related names the class {each!r}, which no cell has; {nearest(each, list(known))}"
        )
    return known.index(each)
