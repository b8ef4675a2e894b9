"""From a config to a job: files are found, genes or letters looked at, labels read."""

from __future__ import annotations

from pathlib import Path

from biolm.errors import ConfigError
from biolm.progress import log
from biolm.training.config import RunConfig
from biolm.training.data.cells import CellExamples, Examples, StoredExamples
from biolm.training.data.groups import cell_groups, hold_out
from biolm.training.data.label_files import column_of, read_labels
from biolm.training.data.sequence_job import (
    SequenceVocabulary,
    sequence_examples,
    sequence_groups,
    sequence_vocabulary,
)
from biolm.training.data.sources import expand, holds_sequences, holds_tokens
from biolm.training.data.vocabulary import Vocabulary, language_of_data, language_of_folder, match_files
from biolm.training.run.checks import check_tokens, refuse_cell_settings
from biolm.training.run.folder import known_lengths, last_checkpoint
from biolm.training.run.job import Job, plan_job, read_kinds
from biolm.training.run.start import Start, load_start

__all__ = ["prepare"]


def prepare(config: RunConfig, folder: Path | None = None) -> Job:
    """Look at the data once or twice and plan the run.

    Parameters
    ----------
    config
        Of the run.
    folder
        Of the run, where stored tokens are unpacked; None to plan only.

    Raises
    ------
    BiolmError
        If the data cannot be read, or data, model and objectives do not fit each other.
    """
    if not config.data.paths:
        raise ConfigError("data.paths must name at least one file or folder")
    files = expand(config.data.paths)
    if any(holds_sequences(path) for path in files):
        refuse_cell_settings(config.data, "sequences")
        return _of_sequences(config, files, folder)
    stored = [holds_tokens(path) for path in files]
    if any(stored) and not all(stored):
        raise ConfigError("data.paths mixes cells and stored tokens; train on one kind")
    start = _start(config)
    if stored[0] and config.data.vocabulary is None and start is None:
        raise ConfigError(
            "stored tokens need data.vocabulary or model.start: the folder of the model they were made with"
        )
    if start is not None and isinstance(start.vocabulary, SequenceVocabulary):
        raise ConfigError(f"model.start {config.model.start} reads sequences, but data.paths names none")
    known = known_lengths(folder, files, config)
    vocabulary = _vocabulary(files, config, start, None if known is None else folder)
    examples = _examples(files, vocabulary, config, folder, stored=stored[0])
    kinds = read_kinds(config.objectives)
    labels = read_labels(examples, vocabulary, config, kinds)
    held_out = None
    if config.data.groups is not None:
        held_out = hold_out(cell_groups(column_of(examples, config.data.groups)), config)
    return plan_job(
        config, examples, vocabulary, files=files, labels=labels, start=start, held_out=held_out, known=known
    )


def _of_sequences(config: RunConfig, files: list[Path], folder: Path | None) -> Job:
    if not all(holds_sequences(path) for path in files):
        raise ConfigError("data.paths mixes sequences with cells or tokens; train on one kind")
    start = _start(config)
    vocabulary = sequence_vocabulary(config) if start is None else start.vocabulary
    if not isinstance(vocabulary, SequenceVocabulary):
        raise ConfigError(f"model.start {config.model.start} reads cells, but data.paths names sequences")
    known = known_lengths(folder, files, config)
    examples = sequence_examples(files, vocabulary, config, folder)
    labels = read_labels(examples, vocabulary, config, read_kinds(config.objectives))
    chosen = config.data
    groups = None if chosen.groups is None else sequence_groups(examples, chosen.groups, chosen.identity)
    held_out = None if groups is None else hold_out(groups, config)
    return plan_job(
        config, examples, vocabulary, files=files, labels=labels, start=start, held_out=held_out, known=known
    )


def _start(config: RunConfig) -> Start | None:
    model = config.model
    if model.start is None:
        for name in ("lora", "freeze"):
            learned = model.init_genes is not None and model.freeze == "embeddings"
            if getattr(model, name) is not None and not learned:
                raise ConfigError(
                    f"model.{name} keeps weights as they were learned, and there are none; set model.start"
                )
        return None
    if config.data.vocabulary is not None:
        raise ConfigError("model.start brings its own vocabulary; leave data.vocabulary out")
    return load_start(model)


def _vocabulary(files: list[Path], config: RunConfig, start: Start | None, folder: Path | None) -> Vocabulary:
    """Genes and tokeniser; ``folder`` is that of a run that goes on, whose checkpoints hold them."""
    if start is not None:
        return start.vocabulary
    if config.data.vocabulary is not None:
        return language_of_folder(config.data.vocabulary, config.model.tokenizer)
    if folder is not None:
        with last_checkpoint(folder) as saved:
            if saved is not None:
                return language_of_folder(str(saved))
    return language_of_data(files, config.data, config.model, config.name)


def _examples(
    files: list[Path], vocabulary: Vocabulary, config: RunConfig, folder: Path | None, *, stored: bool
) -> Examples:
    if stored:
        refuse_cell_settings(config.data, "stored tokens")
        check_tokens(files, vocabulary)
        return StoredExamples(files, None if folder is None else folder / "tokens")
    assert vocabulary.language is not None
    matches = match_files(files, vocabulary.language.vocabulary, config.data)
    for path, match in zip(files, matches, strict=True):
        report = match.report
        log.info("%s: %s of %s genes have a token", path, f"{report.matched:,}", f"{report.total:,}")
    return CellExamples(
        files,
        matches,
        vocabulary.language,
        matrix=config.data.layer,
        seed=config.seed,
        downsample=config.data.downsample,
        zeros=config.data.zeros,
        counts=not config.data.allow_normalised,
    )
