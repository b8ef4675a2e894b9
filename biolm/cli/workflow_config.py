"""The inputs of ``workflows/``: their configs and sample sheets, as dataclasses.

Sections of a config are the options of a command, less those that the workflow sets itself, so a config
cannot name an option that the command does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from biolm.cli import annotate_fit, annotate_predict, embed, evaluate
from biolm.cli.workflow_schema import Section
from biolm.models.catalogue import DEFAULT_MODEL
from biolm.options import Option
from biolm.tasks.annotate.settings import DONORS
from biolm.tasks.evaluate.settings import BATCHES, CELL_TYPES, GROUPS

__all__ = [
    "SHEETS",
    "AnnotateConfig",
    "BenchmarkConfig",
    "Dataset",
    "EmbedConfig",
    "EmbedSample",
    "Query",
    "Reference",
]

# Names become parts of paths and of keys in tables of cells.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_SET = frozenset({"input", "output", "quiet", "debug", "json", "overwrite", "key", "format"})
# The workflow scatters, resumes and names models itself, and tables say their own layer.
_SHARDED = _SET | {"shard", "resume", "model", "layer", "transpose"}
_SEQUENCES = frozenset(
    {"state", "letters", "duplicates", "windows", "window", "overlap", "per_residue"}
    | {"labels", "numbers", "split", "identity"}
)
_SHARDS = Option(help="Parts that each job is scattered to; the result is the same.", min=1)

_PATH = Option(help="Table of cells with raw counts, seen from the working directory.")
_LAYER = Option(help="Matrix to read: a layer, or raw; empty: X.")
_SHEET = Option(help="Tab-separated sample sheet.")


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """A table of cells in a sample sheet."""

    dataset: Annotated[str, Option(help="Name of the dataset; it names the results.", pattern=_NAME)]
    path: Annotated[str, _PATH]
    batch: Annotated[str | None, BATCHES] = None
    groups: Annotated[str | None, GROUPS] = None
    layer: Annotated[str | None, _LAYER] = None


@dataclass(frozen=True, kw_only=True)
class EmbedSample(_Cells):
    """A row of the sample sheet of ``workflows/embed``."""

    label: Annotated[str | None, Option(help="Column of obs with the cell types; empty: no evaluation.")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """``config/config.yaml`` of ``workflows/embed``."""

    samples: Annotated[str, _SHEET]
    models: Annotated[
        dict[str, str],
        Option(help="By name in the results: built-in model, checkpoint folder or hub id.", pattern=_NAME),
    ]
    shards: Annotated[int, _SHARDS] = 1
    embed: Annotated[
        dict[str, Any],
        Section(of=embed.Arguments, without=_SHARDED | _SEQUENCES, help="Options of biolm embed."),
    ] = field(default_factory=dict)
    evaluate: Annotated[
        dict[str, Any],
        Section(
            of=evaluate.Arguments,
            without=_SHARDED | {"embedding", "label", "batch", "groups"},
            help="Options of biolm evaluate.",
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dataset(_Cells):
    """A row of the sample sheet of ``workflows/benchmark``."""

    label: Annotated[str, CELL_TYPES]


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """``config/config.yaml`` of ``workflows/benchmark``."""

    samples: Annotated[str, _SHEET]
    systems: Annotated[
        dict[str, str],
        Option(
            help="By name in the results: built-in name, folder of a checkpoint with its options, or hub id.",
            pattern=_NAME,
        ),
    ]
    seeds: Annotated[list[int], Option(help="Seeds of draws and folds.")] = field(default_factory=lambda: [0])
    embed: Annotated[
        dict[str, Any],
        Section(of=embed.Arguments, without=_SHARDED | _SEQUENCES | {"seed"}, help="Options of biolm embed."),
    ] = field(default_factory=dict)
    evaluate: Annotated[
        dict[str, Any],
        Section(
            of=evaluate.Arguments,
            without=_SHARDED | {"embedding", "label", "batch", "groups", "seed"},
            help="Options of biolm evaluate.",
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The labelled cells that an annotator learns from."""

    path: Annotated[str, _PATH]
    label: Annotated[str, Option(help="Column of obs to learn.")]
    batch: Annotated[str | None, DONORS] = None
    layer: Annotated[str | None, _LAYER] = None


@dataclass(frozen=True, kw_only=True)
class Query:
    """A row of the sample sheet of ``workflows/annotate``."""

    query: Annotated[str, Option(help="Name of the query; it names the results.", pattern=_NAME)]
    path: Annotated[str, _PATH]
    label: Annotated[str | None, Option(help="Column of obs with known types, to compare with.")] = None
    layer: Annotated[str | None, _LAYER] = None


@dataclass(frozen=True, kw_only=True)
class AnnotateConfig:
    """``config/config.yaml`` of ``workflows/annotate``."""

    samples: Annotated[str, Option(help="Tab-separated sample sheet of the queries.")]
    reference: Annotated[
        dict[str, Any], Section(of=Reference, without=frozenset(), help="Cells to learn from.", whole=True)
    ]
    model: Annotated[str, Option(help="Built-in model, checkpoint folder or hub id.")] = DEFAULT_MODEL
    shards: Annotated[int, _SHARDS] = 1
    fit: Annotated[
        dict[str, Any],
        Section(
            of=annotate_fit.Arguments,
            without=_SHARDED | _SEQUENCES | {"label", "batch"},
            help="Options of biolm annotate fit.",
        ),
    ] = field(default_factory=dict)
    predict: Annotated[
        dict[str, Any],
        Section(
            of=annotate_predict.Arguments,
            without=_SHARDED | _SEQUENCES | {"annotator"},
            help="Options of biolm annotate predict.",
        ),
    ] = field(default_factory=dict)


SHEETS: dict[str, tuple[type[Any], str]] = {
    "embed-config": (EmbedConfig, "config of workflows/embed"),
    "embed-samples": (EmbedSample, "a row of the sample sheet of workflows/embed"),
    "benchmark-config": (BenchmarkConfig, "config of workflows/benchmark"),
    "benchmark-samples": (Dataset, "a row of the sample sheet of workflows/benchmark"),
    "annotate-config": (AnnotateConfig, "config of workflows/annotate"),
    "annotate-samples": (Query, "a row of the sample sheet of workflows/annotate"),
}
"""By the name that ``biolm schema`` takes: the dataclass, and what it is of."""
