"""From a config to a job: files are found, genes or an alphabet looked at, labels read."""

from __future__ import annotations

from pathlib import Path

from biolm.errors import ConfigError
from biolm.training.config import RunConfig
from biolm.training.data.groups import hold_out
from biolm.training.data.kinds import Kind, OpenData, kind_of
from biolm.training.data.label_files import read_labels
from biolm.training.data.sources import expand
from biolm.training.data.vocabulary import Vocabulary
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
        Of the run, where stored tokens and sequences are unpacked; None to plan only.

    Raises
    ------
    BiolmError
        If the data cannot be read, or data, model and objectives do not fit each other.
    """
    if not config.data.paths:
        raise ConfigError("data.paths must name at least one file or folder")
    files = expand(config.data.paths)
    kind = kind_of(files)
    data = kind.open(files, config)
    try:
        return _planned(config, folder, files, kind, data)
    except BaseException:
        # A run that is planned keeps its files open for the steps; one that never is must let go of them.
        data.close()
        raise


def _planned(config: RunConfig, folder: Path | None, files: list[Path], kind: Kind, data: OpenData) -> Job:
    start = _start(config)
    if start is not None and start.vocabulary.reads != kind.reads:
        raise ConfigError(
            f"model.start {config.model.start} reads {start.vocabulary.reads}, but data.paths names "
            f"{kind.name}"
        )
    # Checked before the model is read: data that have changed are the commoner fault.
    known = known_lengths(folder, files, config)
    if start is not None:
        vocabulary = start.vocabulary
    else:
        # A run that goes on takes the vocabulary of its checkpoint: that of the data could number tokens
        # anew.
        vocabulary = _vocabulary(data, None if known is None else folder)
    examples = data.examples(vocabulary, folder)
    labels = read_labels(examples, vocabulary, config, read_kinds(config.objectives))
    held_out = None if config.data.groups is None else hold_out(examples.groups(config.data), config)
    return plan_job(
        config, examples, vocabulary, files=files, labels=labels, start=start, held_out=held_out, known=known
    )


def _vocabulary(data: OpenData, folder: Path | None) -> Vocabulary:
    """Of the data; ``folder`` is that of a run that goes on, whose checkpoints hold it."""
    if folder is None:
        return data.vocabulary(None)
    with last_checkpoint(folder) as checkpoint:
        return data.vocabulary(checkpoint)


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
