"""The choices of fitting and using an annotator, in one place for Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar

from biolm.common_options import CELLS, KEY, SEQUENCES
from biolm.errors import ConfigError
from biolm.extras import need
from biolm.jobs.settings import CellSettings, RunSettings, SequenceSettings, check_key
from biolm.options import Option, check_options, refuse_unused, unused_options

__all__ = ["DONORS", "METHODS", "TRAINED", "FitSettings", "GeneFitSettings", "PredictSettings"]

TRAINED = ("head", "lora", "full")
METHODS = ("linear", "knn", *TRAINED)
FROZEN = ("linear", "knn")
FEATURES = {"cells": ("joint", "embedding", "expression"), "sequences": ("joint", "embedding", "kmers")}
SPLITS = ("clusters", "random")
DONORS = Option(help="Column of donors or batches to keep together.", shown="none")

_METHODS_OF = {
    "features": ("linear",),
    "neighbours": ("knn",),
    "epochs": TRAINED,
    "rate": TRAINED,
    "hidden_state": FROZEN,
    "precision": FROZEN,
    "compile": FROZEN,
    "block_rows": FROZEN,
}


@dataclass(frozen=True, kw_only=True)
class FitSettings(CellSettings, SequenceSettings):
    """Choices of fitting an annotator, beside those of the classes that it is made of.

    Parameters
    ----------
    method
        ``linear`` or ``knn`` on frozen vectors; ``head``, ``lora`` or ``full`` train the model.
    features
        What ``linear`` reads: ``embedding`` of the model alone; log-normalised ``expression`` alone (of
        sequences: ``kmers``, of residues those round each); or ``joint``, both.
    batch
        Column of donors, plates or laboratories (of sequences: of the labels, such as a species): none of
        them lies on both sides of a split.
    leave_out
        Labels that are no class, such as ``other``; their cells are not used.
    test_share
        Fraction of the cells (of the batches, where given) that the report is measured on.
    max_cells
        Most cells, sequences or residues that are used; of larger sets a seeded sample.
    neighbours
        Neighbours that ``knn`` asks.
    reject
        Promised loss: at most this fraction of cells of known types is called unknown. It sets the cut-off of
        novelty, on batches that were held out whole where ``batch`` names them.
    epochs
        Most passes over the cells of ``head``, ``lora`` and ``full``; how many are made, 0 among them, is
        chosen on held-out ones.
    rate
        Their learning rate; by default the better of two that suit the method.
    numbers
        Learn numbers (regression), not classes.
    per_residue
        Each residue or base has a label of its own.
    split
        What is held out: whole ``clusters`` of similar sequences, or a ``random`` fraction, which near-copies
        make look better than it is.
    identity
        Sequences at least so alike share a cluster; by default 0.5 of residues and 0.8 of bases.

    Raises
    ------
    ConfigError
        If a value is out of range, or the method does not use an option.
    """

    unused: ClassVar[dict[str, tuple[str, ...]]] = {
        "sequences": ("hidden_state", "precision", "compile", "block_rows")
    }

    method: Annotated[
        str,
        Option(help="linear or knn on frozen vectors; head, lora or full train the model.", choices=METHODS),
    ] = "linear"
    features: Annotated[
        str,
        Option(
            help="What linear reads: embedding, expression (of sequences: kmers) or joint (both).",
            choices=("joint", "embedding", "expression", "kmers"),
        ),
    ] = "joint"
    batch: Annotated[str | None, DONORS] = None
    leave_out: Annotated[tuple[str, ...], Option(help="Label that is no class; may be repeated.")] = ()
    test_share: Annotated[
        float, Option(help="Fraction of cells (batches) to measure on.", above=0, below=1)
    ] = 0.2
    max_cells: Annotated[int, Option(help="Most cells to use; more are sampled.", min=1)] = 20_000
    neighbours: Annotated[int, Option(help="Neighbours that knn asks.", min=1)] = 10
    reject: Annotated[
        float, Option(help="Promised loss: at most this fraction of known cells is unknown.", min=0, max=0.5)
    ] = 0.05
    epochs: Annotated[int, Option(help="Most epochs of head, lora and full.", min=1)] = 10
    rate: Annotated[float | None, Option(help="Learning rate.", above=0, cli=False)] = None
    numbers: Annotated[
        bool, Option(help="Learn numbers, not classes.", panel="Sequences", only=SEQUENCES)
    ] = False
    per_residue: Annotated[
        bool, Option(help="Each residue or base has a label.", panel="Sequences", only=SEQUENCES)
    ] = False
    split: Annotated[
        str,
        Option(
            help="Hold out whole clusters of similar sequences, or random.",
            choices=SPLITS,
            panel="Sequences",
            only=SEQUENCES,
        ),
    ] = "clusters"
    identity: Annotated[
        float | None,
        Option(
            help="Sequences so alike share a cluster.",
            above=0,
            max=1,
            shown="0.5; DNA 0.8",
            panel="Sequences",
            only=SEQUENCES,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_options(self)
        if self.method in TRAINED:
            need(f"method {self.method}", "train", "yaml", "pytorch_lightning")
        # A choice at its default cannot be told from one that was left out, and is no mistake.
        defaults = {field.name: field.default for field in fields(self)}
        for name, methods in _METHODS_OF.items():
            if self.method not in methods and getattr(self, name) != defaults[name]:
                raise ConfigError(
                    f"`{name}` is for method {' or '.join(methods)}, not {self.method}; leave it out"
                )
        if self.numbers and self.method == "knn":
            raise ConfigError("knn votes for classes; learn numbers by linear, head, lora or full")
        if self.per_residue and self.pool is not None:
            raise ConfigError(
                "`per_residue` gives every letter its vector, so it takes no `pool`; choose one"
            )

    def check_modality(self, modality: str) -> None:
        """Refuse what means nothing for a kind of data.

        Raises
        ------
        ConfigError
            If an option was chosen that is not used, or features of another kind of data.
        """
        refuse_unused(self, modality)
        features = FEATURES.get(modality, ("joint", "embedding"))
        if self.features not in features:
            known = ", ".join(features)
            raise ConfigError(f"`features` of {modality} are one of {known}, not {self.features!r}")

    def used(self, modality: str) -> dict[str, Any]:
        """The choices that mean something for a kind of data, by name."""
        left_out = {*unused_options(self, modality), "progress"}
        return {
            field.name: getattr(self, field.name)
            for field in fields(FitSettings)
            if field.name not in left_out
        }

    @property
    def classifier(self) -> FitSettings:
        """The same as settings of classifiers of cells, where k-mers take the place of expression."""
        return replace(self, features="expression" if self.features == "kmers" else self.features)


@dataclass(frozen=True, kw_only=True)
class GeneFitSettings(FitSettings):
    """Choices of labelling genes: ``linear`` on frozen vectors, or a method that trains on cells.

    Raises
    ------
    ConfigError
        If a value is out of range, or the method does not use an option.
    """

    unused: ClassVar[dict[str, tuple[str, ...]]] = {
        "*": (
            *("features", "batch", "leave_out", "max_cells", "neighbours", "reject"),
            *("numbers", "per_residue", "split", "identity", "letters"),
            *("pool", "hidden_state", "precision", "compile", "block_rows"),
        )
    }

    def __post_init__(self) -> None:
        FitSettings.__post_init__(self)
        refuse_unused(self, "cells")
        if self.method == "knn":
            raise ConfigError("genes are labelled by linear, head, lora or full, not by knn")
        if self.method not in TRAINED and (self.test_share, self.batch_tokens) != (0.2, 16_384):
            raise ConfigError(
                f"`test_share` and `batch_tokens` are for method {' or '.join(TRAINED)}, not {self.method}; "
                "leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class PredictSettings(CellSettings, SequenceSettings, RunSettings):
    """Choices of using an annotator, beside those of the classes that it is made of.

    Parameters
    ----------
    key
        Name of the first label's result; ``biolm_<label>`` by default.
    reject
        Cells above the annotator's cut-off of novelty are unknown; False names every cell.
    align
        Take off what all types of the query share in differing from the training cells, as those of another
        laboratory do, before their novelty is scored. False: a cell's novelty depends on no other cell.
    ontology
        File of cell types and their ancestors (OBO, obographs JSON, or a table of child and parent).
    coarse
        Terms of the ontology to roll the first label up to, in ``obs[key + "_coarse"]``.

    Raises
    ------
    ConfigError
        If one of ``ontology`` and ``coarse`` is given without the other.
    """

    # Vectors are made as those that the annotator was fitted on.
    unused: ClassVar[dict[str, tuple[str, ...]]] = {
        "*": ("pool", "hidden_state"),
        "sequences": ("seed", "precision", "compile", "format"),
    }

    key: Annotated[str | None, replace(KEY, shown="biolm_LABEL")] = None
    reject: Annotated[bool, Option(help="Call novel cells unknown.")] = True
    align: Annotated[
        bool,
        Option(
            help="Take off what the query's types share, as those of another laboratory do, to tell novelty.",
            panel="Cells",
            only=CELLS,
        ),
    ] = True
    ontology: Annotated[
        str | None,
        Option(
            help="Cell types and ancestors: .obo, .json or .tsv.", shown="none", panel="Cells", only=CELLS
        ),
    ] = None
    coarse: Annotated[
        tuple[str, ...], Option(help="Term to roll up to; may be repeated.", panel="Cells", only=CELLS)
    ] = ()

    def __post_init__(self) -> None:
        check_options(self)
        check_key(self.key)
        self.check_run()
        if (self.ontology is None) != (not self.coarse):
            raise ConfigError("to name cells coarsely give both `ontology` and `coarse`")
