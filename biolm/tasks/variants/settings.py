"""Choices of a job that scores variants, and what it hands back.

Dimensions: ``m`` variants · ``k`` columns of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import biolm
from biolm.adapters.sequences import Policy
from biolm.common_options import LETTERS, SEED, SHARD, BatchTokens, Device, Overwrite, Precision, Progress
from biolm.errors import ConfigError
from biolm.io.provenance import plain
from biolm.jobs.precision import for_scores
from biolm.jobs.settings import RunSettings
from biolm.jobs.spool import Spool
from biolm.options import Option, check_options

if TYPE_CHECKING:
    import pandas as pd

    from biolm.models.sequence_model import SequenceModel, SequenceOptions

__all__ = [
    "INTERVAL_SCAN",
    "LIST",
    "PROTEIN_SCAN",
    "TABLE",
    "VCF",
    "VariantScores",
    "VariantSettings",
    "gather",
]

_WIDTH = 512

TABLE, LIST, PROTEIN_SCAN = "a table of mutations", "a list of mutations", "a scan of a protein"
VCF, INTERVAL_SCAN = "a VCF", "a scan of intervals"
"""What is scored, as messages name it."""
_PROTEINS, _DNA = (TABLE, LIST, PROTEIN_SCAN), (VCF, INTERVAL_SCAN)


@dataclass(frozen=True, kw_only=True)
class VariantSettings(RunSettings):
    """Choices of a job, beside those of :class:`~biolm.jobs.settings.RunSettings`.

    Parameters
    ----------
    method
        Names of :data:`~biolm.tasks.variants.methods.METHODS`; ``auto`` for the model's usual one.
    window
        Proteins: most tokens of a window, the model's own length by default. DNA: bases around a variant,
        512 or what the model reads at once, if that is less.
    strands
        DNA: ``both`` takes the mean with the reverse complement, ``forward`` does not.
    average
        DNA: mean log-likelihood of the tokens of a window in place of their sum, as the authors of Evo 2
        score variants.
    distances
        VCF: also compare the embeddings of both alleles.
    baseline
        Proteins: add BLOSUM62.
    letters
        What is done with residues or bases that the model does not know: ``error`` stops, ``unknown`` reads
        them as its unknown token, ``skip`` gives no score to what holds one.
    offset
        Proteins: how much the places that are written exceed those of the sequence.
    key
        Begins the names of the columns (in lower case) and of the fields of INFO.
    batch_tokens, device, precision
        As of :class:`~biolm.models.model.EmbedOptions`; ``auto`` is float32, since scores are differences.
    seed
        Of the bootstrap of a table with measurements.
    shard
        Of a table or list of mutations, or a VCF: do a part of the job only, such as ``2/7``, into a folder
        for ``biolm merge``.
    overwrite
        Whether existing outputs may be replaced.
    progress
        Whether to draw progress.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    unused: ClassVar[dict[str, tuple[str, ...]]] = {"*": ("format",)}

    method: Annotated[
        tuple[str, ...],
        Option(
            help="wt-marginal, masked-marginal, pseudo-perplexity, one-pass, causal; may be repeated.",
            shown="the model's usual",
        ),
    ] = ("auto",)
    window: Annotated[
        int | None,
        Option(help="Tokens of a window of a protein; bases around a variant.", min=1, shown="model's; 512"),
    ] = None
    strands: Annotated[
        str,
        Option(
            help="DNA: both (mean with the reverse complement) or forward.",
            choices=("both", "forward"),
            only=_DNA,
        ),
    ] = "both"
    average: Annotated[
        bool, Option(help="DNA: mean over a window's tokens in place of the sum.", only=_DNA)
    ] = False
    distances: Annotated[bool, Option(help="VCF: also compare embeddings of both alleles.", only=(VCF,))] = (
        False
    )
    baseline: Annotated[bool, Option(help="Proteins: add BLOSUM62 beside the model.", only=_PROTEINS)] = True
    letters: Annotated[Policy, replace(LETTERS, only=())] = "unknown"
    offset: Annotated[
        int,
        Option(help="Proteins: by how much written places exceed those of the sequence.", only=(TABLE, LIST)),
    ] = 0
    key: Annotated[str, Option(help="Begins the names of the new columns or fields.", panel="Output")] = (
        "BIOLM"
    )
    batch_tokens: BatchTokens = 16_384
    device: Device = "auto"
    precision: Precision = "float32"
    seed: Annotated[int, replace(SEED, only=(TABLE,))] = 0
    shard: Annotated[str | None, replace(SHARD, only=(TABLE, LIST, VCF))] = None
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)
        self.check_run()
        if not self.key.isidentifier():
            raise ConfigError(f"key must be a word of letters, digits and _, not {self.key!r}")

    def options(self, *, longest: int | None = None) -> SequenceOptions:
        """How the model is run."""
        from biolm.models.sequence_model import SequenceOptions

        return SequenceOptions(
            batch_tokens=self.batch_tokens,
            device=self.device,
            precision=for_scores(self.precision),
            longest=longest,
        )

    def width(self, model: SequenceModel) -> int:
        """Bases of a window around a variant."""
        if self.window is not None:
            return self.window
        if model.max_length is None:
            return _WIDTH
        # In bases: k-mers and BPE read several a token, and special tokens take their room.
        return min(_WIDTH, (model.max_length - sum(model.preprocessor.special)) * model.tokenizer.stride)

    def provenance(self, model: SequenceModel, methods: tuple[str, ...], **more: Any) -> dict[str, Any]:
        """How scores were made; no date and no path.

        Parameters
        ----------
        model
            That scored.
        methods
            How.
        """
        metadata: dict[str, Any] = plain(
            {
                "biolm_version": biolm.__version__,
                "model": model.name,
                "checkpoint": model.describe(),
                "method": methods,
                "window": self.window,
                "precision": for_scores(self.precision),
                "batch_tokens": self.batch_tokens,
                "letters": self.letters,
                **more,
            }
        )
        return metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScores:
    """Scores of variants.

    Parameters
    ----------
    columns
        ``(m,)`` each, by name: those of the input, then scores; the higher, the likelier the variant.
    names
        Which of them are scores.
    correlations
        Rank correlation of each score with ``DMS_score``, where there is one; see
        :func:`~biolm.tasks.variants.baseline.rank_correlation`.
    provenance
        How they were made.
    output
        The file, where one was written.
    """

    columns: Mapping[str, NDArray[Any]]
    names: tuple[str, ...]
    correlations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def frame(self) -> pd.DataFrame:
        """The columns as a table of pandas."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns))


def gather(
    blocks: Callable[[int], Iterator[NDArray[np.float64]]],
    borders: NDArray[np.int64],
    width: int,
    job: dict[str, Any],
    settings: VariantSettings,
    output: Path | None,
) -> NDArray[np.float32]:
    """Collect scores block by block, on disk beside the output so that a killed job can go on.

    Parameters
    ----------
    blocks
        Scores ``(·, k)`` of consecutive blocks from a row on.
    borders
        Rows at which blocks begin and end.
    width
        ``k``.
    job
        What makes two jobs the same.
    settings
        Choices of the job.
    output
        The file; None for a job in memory.

    Returns
    -------
    ``(m, k)``.
    """
    if not borders[-1]:
        return np.zeros((0, width), np.float32)
    if output is None:
        if settings.resume:
            raise ConfigError("resume is for jobs that write a file; give an output")
        return np.concatenate([np.zeros((0, width)), *blocks(0)]).astype(np.float32)
    spool = Spool(output, job, 0, len(borders) - 1)
    with spool.open(resume=settings.resume, overwrite=settings.overwrite):
        if spool.next < spool.last:
            for block in blocks(int(borders[spool.next])):
                spool.put({"scores": block.astype(np.float32)})
        none = np.zeros((0, width), np.float32)
        return np.concatenate([none, *(part["scores"] for part in spool.parts())])
