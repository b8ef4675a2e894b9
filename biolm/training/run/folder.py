"""The folder of a run: made once, and found again by a run that goes on.

It holds the resolved ``config.yaml``, and of the data ``data.json`` (what the files and tables hold, in which
order, which tokeniser) and ``lengths.npy``, so that a run does not go on with other data, and need not look
at all of them again. The files may lie elsewhere by then.

Dimensions: ``n`` examples of the whole data set.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import BiolmError, CheckpointError, ConfigError, InputError, OutputError
from biolm.io.atomic import remove, replacing
from biolm.io.json_file import read_json
from biolm.io.provenance import digest, stamp
from biolm.models.native import preprocessor_metadata
from biolm.training.config import RunConfig
from biolm.training.config.read import read_config, write_config

if TYPE_CHECKING:
    from biolm.training.run.job import Job

__all__ = [
    "LEARNING",
    "absolute",
    "accept",
    "changes",
    "checkpoints",
    "known_lengths",
    "last_checkpoint",
    "open_folder",
    "remember",
    "stored_config",
]

log = logging.getLogger("biolm")

_CONFIG, _DATA, _LENGTHS = "config.yaml", "data.json", "lengths.npy"

# Settings that a run may go on with in place of those it began with: how fast and how long it learns from
# there on, and what does not change what is learned.
LEARNING = ("optimiser.*", "trainer.clip")
_LONGER = ("trainer.max_steps", "trainer.max_epochs")
_FREE = (
    *LEARNING,
    "trainer.accelerator",
    "trainer.checkpoint_every",
    "trainer.keep",
    "trainer.log_every",
    "trainer.loggers",
    "trainer.peak_tflops",
    "data.workers",
)


def absolute(config: RunConfig) -> RunConfig:
    """The config with paths that do not depend on where a command is given."""
    data = replace(
        config.data,
        paths=tuple(str(Path(path).expanduser().absolute()) for path in config.data.paths),
        vocabulary=_where(config.data.vocabulary),
        # Of cells it is a column, which a folder may share its name with.
        groups=_where(config.data.groups) if Path(config.data.groups or "").is_file() else config.data.groups,
        labels={
            name: replace(label, table=_where(label.table), genes=_where(label.genes))
            for name, label in config.data.labels.items()
        },
    )
    tokenizer = {
        key: _where(value) if key == "file" and isinstance(value, str) else value
        for key, value in config.model.tokenizer.items()
    }
    model = replace(
        config.model,
        tokenizer=tokenizer,
        start=_where(config.model.start),
        init_genes=_where(config.model.init_genes),
    )
    objectives = {
        name: {key: _panels(value) if key == "panels" else value for key, value in part.items()}
        for name, part in config.objectives.items()
    }
    return replace(config, data=data, model=model, objectives=objectives)


def _panels(given: Any) -> Any:
    """Designed panels, those in a file by its path from the root."""
    if not isinstance(given, list | tuple):
        return given
    return [_where(panel) if isinstance(panel, str) else panel for panel in given]


def _tables(config: RunConfig) -> list[Path]:
    """Further files that a run reads: labels, groups, gene panels, weights to start from."""
    labels = (place for label in config.data.labels.values() for place in (label.table, label.genes))
    panels = (panel for part in config.objectives.values() for panel in part.get("panels") or ())
    model = (config.model.start, config.model.init_genes, config.model.tokenizer.get("file"))
    named = (place for place in (*labels, config.data.groups, *panels, *model) if isinstance(place, str))
    return [Path(place) for place in named if Path(place).is_absolute() and Path(place).exists()]


def _where(text: str | None) -> str | None:
    """A path that exists, from the root; the name of a model, say, stays."""
    if text is None or not Path(text).expanduser().exists():
        return text
    return str(Path(text).expanduser().absolute())


def open_folder(folder: Path, config: RunConfig, *, resume: bool) -> bool:
    """Make the folder, or check that its run may go on with a config.

    Parameters
    ----------
    folder
        Of the run.
    config
        Of the run.
    resume
        Whether a run may be there.

    Returns
    -------
    Whether it was made, rather than found.

    Raises
    ------
    OutputError
        If it exists and ``resume`` is off, or holds other things than a run.
    ConfigError
        If a setting differs that must not.
    """
    stored = folder / _CONFIG
    if folder.exists() and not resume:
        raise OutputError(
            f"{folder} exists already; choose another folder, or go on with its run (`resume=True`)"
        )
    # Also an empty folder, which a killed start or the user may have left.
    if not folder.exists() or not any(folder.iterdir()):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_config(stored, config)
        except OutputError:
            if is_new:
                remove(folder)
            raise
        return True
    if not stored.exists():
        raise OutputError(f"{folder} holds no run to go on with; choose another folder")
    _remove_leftovers(folder)
    for key, before, now in changes(folder, config):
        free = any(fnmatchcase(key, pattern) for pattern in _FREE)
        if not (free or _is_longer(key, before, now) or _is_moved(before, now)):
            more = "; it may only grow" if key in _LONGER else ""
            raise ConfigError(
                f"{key} is {now!r}, but the run in {folder} began with {before!r}{more}; go on with "
                f"{stored} as it is (`resume=True`), or begin another run"
            )
    return False


def changes(folder: Path, config: RunConfig, patterns: Sequence[str] = ("*",)) -> list[tuple[str, Any, Any]]:
    """Key, stored and new value of the settings by which a config differs from that of a run.

    Parameters
    ----------
    folder
        Of the run.
    config
        What it may go on with.
    patterns
        Which keys.
    """
    differences = _differences(stored_config(folder).as_dict(), config.as_dict())
    return [change for change in differences if any(fnmatchcase(change[0], pattern) for pattern in patterns)]


def accept(folder: Path, config: RunConfig) -> None:
    """Write the config that a run goes on with, once nothing stands in its way any more.

    Parameters
    ----------
    folder
        Of the run.
    config
        That it goes on with.
    """
    changed = changes(folder, config)
    for key, before, now in changed:
        log.info("going on with %s %r in place of %r", key, now, before)
    if changed:
        write_config(folder / _CONFIG, config)


def _is_longer(key: str, before: Any, now: Any) -> bool:
    """Whether a run only goes on for longer; 0 steps are no limit."""
    return key in _LONGER and (now == 0 or 0 < before < now)


def _is_moved(before: Any, now: Any) -> bool:
    """Whether paths are all that changed; what the files hold is compared when they are looked at."""
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return all(_is_path(each) for each in (*before, *now))
    return _is_path(before) and _is_path(now)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def stored_config(folder: Path) -> RunConfig:
    """The config that the run in a folder has."""
    return read_config(folder / _CONFIG)


def _remove_leftovers(folder: Path) -> None:
    """What a run that was killed while it wrote has left behind."""
    for place in (folder, folder / "checkpoints"):
        # Only this process is in the folder: it holds its lock.
        for pattern in (".*.partial-*", ".*.old-*", ".*.lock"):
            for partial in place.glob(pattern):
                remove(partial)


def _differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, earlier and new value of each setting that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            path = f"{place}.{key}" if place else str(key)
            yield from _differences(before.get(key), now.get(key), path)
    elif before != now:
        yield place, before, now


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    place = folder / "checkpoints"
    folders = place.glob("step-*") if place.is_dir() else ()
    return sorted(path for path in folders if path.name.removeprefix("step-").isdigit())


@contextmanager
def last_checkpoint(folder: Path) -> Iterator[Path | None]:
    """The last checkpoint of a run, to be read inside; None where there is none.

    Raises
    ------
    CheckpointError
        If it cannot be read, with what to do.
    """
    checkpoint_folders = checkpoints(folder)
    try:
        # Read inside, so that damage found anywhere in it names the checkpoint to remove.
        yield checkpoint_folders[-1] if checkpoint_folders else None
    except (BiolmError, KeyError, TypeError, ValueError) as error:
        earlier = f"go on from {checkpoint_folders[-2].name}" if len(checkpoint_folders) > 1 else "begin anew"
        raise CheckpointError(
            f"{checkpoint_folders[-1]} is damaged ({error}); remove it to {earlier}"
        ) from error


def known_lengths(folder: Path | None, files: list[Path], config: RunConfig) -> NDArray[np.int64] | None:
    """``(n,)`` tokens of each example, as the run found them when it began; None for a run that begins.

    Parameters
    ----------
    folder
        Of the run; None for none.
    files
        The data.
    config
        Of the run.

    Raises
    ------
    InputError
        If the run began with other files or tables.
    """
    if folder is None or not (folder / _DATA).is_file():
        return None
    before, now = read_json(folder / _DATA)["files"], _stamps(files, config)
    if difference := _other_data(before, now):
        path, how = difference
        raise InputError(
            f"{path} {how} since the run in {folder} began, so it cannot go on exactly; bring the data "
            "back, or begin another run"
        )
    # The order numbers the examples, and the numbers seed every draw.
    if list(before.values()) != list(now.values()):
        raise InputError(
            f"the files have another order than when the run in {folder} began, so it cannot go on exactly; "
            f"name {Path(next(iter(before))).name} first and the others as they stand in {folder / _DATA}"
        )
    try:
        lengths: NDArray[np.int64] = np.load(folder / _LENGTHS, allow_pickle=False).astype(np.int64)
    except (OSError, ValueError, EOFError):
        return None  # lost or damaged, so the data are looked at again
    return lengths


def remember(folder: Path, job: Job) -> None:
    """Write down the data of a run that begins; of one that goes on, check the vocabulary.

    Parameters
    ----------
    folder
        Of the run.
    job
        The run.

    Raises
    ------
    InputError
        If the vocabulary is another than it was.
    """
    metadata = {} if job.preprocessor is None else preprocessor_metadata(job.preprocessor)
    tokens = digest(
        {"tokens": {str(name): token for name, token in job.vocabulary.tokens.items()}, **metadata}
    )
    if (folder / _DATA).is_file():
        if read_json(folder / _DATA)["vocabulary"] != tokens:
            raise InputError(
                f"the vocabulary, or a setting of its tokeniser, is another than when the run in {folder} "
                "began; bring it back, or begin another run"
            )
        return
    with replacing(folder / _LENGTHS, overwrite=True) as temporary:
        np.save(temporary, job.found.lengths.astype(np.int32))
    notes: dict[str, Any] = {"files": _stamps(job.files, job.config), "vocabulary": tokens}
    if isinstance(tally := getattr(job.examples, "tally", None), Tally):
        notes["letters"] = tally.as_dict()
    with replacing(folder / _DATA, overwrite=True) as temporary:
        temporary.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")


def _other_data(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str] | None:
    """The first file by which two sets of stamps differ, wherever the files lie, and how; None for none."""
    # By content: files may be moved or renamed between two parts of a run.
    left = Counter(before.values())
    left.subtract(now.values())
    names = {Path(path).name for path in now}
    for path, contents in before.items():
        if left[contents] > 0:
            return path, "was changed" if Path(path).name in names else "is gone"
    return next(((path, "is new") for path, contents in now.items() if left[contents] < 0), None)


def _stamps(files: list[Path], config: RunConfig) -> dict[str, str]:
    """What each file holds, in the order in which their examples are numbered, and each table."""
    return {str(path): stamp(path) for path in (*files, *_tables(config))}
