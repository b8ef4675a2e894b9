"""Models by name, by folder and by hub id.

Built-ins are listed in :mod:`biolm.models.catalogue` and imported on first use; other packages add theirs
through the entry point group ``biolm.models``, whose values name a module, or an object in it. It offers

``load(path=None)``
    The model; a module of a published system takes the folder of a checkpoint.
``recognises(folder)``
    Whether a folder holds a checkpoint of this system.
``recognises_file(path)``
    Optional: whether a single file is a checkpoint of this system.
``load_tokenizer(path=None)``
    Optional: an object that tokenises without the weights, and without importing torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.errors import CheckpointError, ConfigError
from biolm.io.damage import naming_damage
from biolm.models.address import remote_address, split_options
from biolm.models.catalogue import BUILT_IN, Entry
from biolm.models.hub import SAFE_FILES, download, hub_of, where_to_get
from biolm.progress import log
from biolm.settings import nearest

if TYPE_CHECKING:
    from biolm.core import Transformer
    from biolm.models.model import CellModel
    from biolm.models.sequence_model import SequenceModel

__all__ = ["Entry", "available", "fetch", "find", "load", "load_tokenizer", "resolve"]


@cache
def available() -> tuple[Entry, ...]:
    """Every model known by name: built-ins, then those of other packages.

    Examples
    --------
    >>> [entry.name for entry in available()][0]
    'cellfactors'
    """
    known = {entry.name: entry for entry in BUILT_IN}
    for point in entry_points(group="biolm.models"):
        package = point.dist.name if point.dist else "another package"
        # A package cannot take the name of a system that comes with biolm.
        known.setdefault(point.name, Entry(name=point.name, module=point.value, summary=f"from {package}"))
    return tuple(known.values())


def find(name: str) -> Entry | None:
    """The model of that name, or None."""
    return next((entry for entry in available() if entry.name == name), None)


def load(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    **options: str,
) -> CellModel | SequenceModel | Transformer:
    """Load a model, strictly: every tensor of a checkpoint is used, or an error names it.

    Systems of cells come as a :class:`~biolm.models.model.CellModel`, systems of sequences as a
    :class:`~biolm.models.sequence_model.SequenceModel`, folders of a bare transformer family as the core
    itself.

    Parameters
    ----------
    name_or_folder
        A built-in name (``cellfactors``), the folder of a checkpoint, or a hub id (``org/name``,
        ``org/name:subfolder@revision``); options of the system may follow as in ``folder?padding=masked``.
    revision, cache_dir, local_files_only
        For a hub id: the branch, tag or commit; where files are kept; never ask the network.
    options
        Options of the system, as of IgLM ``chain`` and ``species``.

    Raises
    ------
    ConfigError
        If the name is not known, or the system has no such option.
    CheckpointError
        If no system recognises the folder, or its content does not fit.

    Examples
    --------
    >>> load("genetex")
    Traceback (most recent call last):
    biolm.errors.ConfigError: there is no model or folder 'genetex'; did you mean 'genetext'?
    """
    if isinstance(name_or_folder, str):
        name_or_folder, chosen = split_options(name_or_folder)
        options = {**chosen, **options}
    remote: dict[str, Any] = {
        "revision": revision,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    if (Path(name_or_folder) / "adapter_config.json").is_file():
        from biolm.models.families.peft import is_peft

        if is_peft(Path(name_or_folder)):
            return _adapted(Path(name_or_folder), remote, options)
    entry, folder = resolve(name_or_folder, **remote)
    module = entry.imported()
    _check_options(entry, module.load, options)
    if folder is None:
        built_in: CellModel | SequenceModel | Transformer = module.load(**options)
        return built_in
    with naming_damage(folder, "the checkpoint", CheckpointError, "fetch it again"):
        model: CellModel | SequenceModel | Transformer = module.load(folder, **options)
        return model


def _adapted(
    folder: Path, remote: dict[str, Any], options: dict[str, Any]
) -> CellModel | SequenceModel | Transformer:
    """The base model of a folder of adapters, with the adapters added to its weights."""
    from biolm.models.families.peft import add_peft, base_of

    _, base = resolve(base_of(folder), **remote)
    if base is None:
        raise CheckpointError(f"{folder} names a built-in model as its base, which takes no adapters")
    model = load(base, **options)
    inner: Any = model
    adapters = add_peft(getattr(inner, "core", inner), folder, base)
    if hasattr(inner, "_files"):
        # The hash of the model then tells the adapted one from its base.
        inner._files = [*inner._files, adapters]
    return model


def _check_options(entry: Entry, make: Callable[..., Any], options: Collection[str]) -> None:
    known = [name for name in inspect.signature(make).parameters if name not in ("folder", "path")]
    for name in options:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "leave it out"
            raise ConfigError(f"model {entry.name} has no option {name}; {has}")


def load_tokenizer(name_or_folder: str | Path) -> Any:
    """What tokenises for a model: without its weights where the system allows it.

    Raises
    ------
    ConfigError, CheckpointError
        As :func:`load`.
    """
    options: dict[str, str] = {}
    if isinstance(name_or_folder, str):
        name_or_folder, options = split_options(name_or_folder)
    entry, folder = resolve(name_or_folder)
    module = entry.imported()
    _check_options(entry, module.load, options)
    make = getattr(module, "load_tokenizer", module.load)
    # Options that say how the network runs mean nothing to its tokens.
    read = {name: value for name, value in options.items() if name in inspect.signature(make).parameters}
    if folder is None:
        return make(**read)
    with naming_damage(folder, "the checkpoint", CheckpointError, "fetch it again"):
        return make(folder, **read)


def resolve(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> tuple[Entry, Path | None]:
    """The system, and the folder of its checkpoint unless the name alone is enough.

    Parameters
    ----------
    name_or_folder
        What :func:`load` takes.
    revision, cache_dir, local_files_only
        As of :func:`load`.

    Raises
    ------
    ConfigError, CheckpointError
        As :func:`load`.
    """
    text = str(name_or_folder)
    entry = find(text) if isinstance(name_or_folder, str) else None
    if entry is not None:
        if not entry.built_in:
            raise ConfigError(
                f"{text} is a published system whose weights do not come with biolm; "
                f"give the folder of a checkpoint ({entry.files})"
                + (f"; {where}" if (where := where_to_get(text)) else "")
            )
        return entry, None
    folder = Path(text).expanduser()
    if folder.is_file():
        for entry, module in _systems():
            if getattr(module, "recognises_file", _never)(folder):
                return entry, folder
        raise CheckpointError(f"{folder} is a file; give the folder that holds the checkpoint")
    if not folder.is_dir():
        if remote_address(text) is None:
            names = [entry.name for entry in available()]
            raise ConfigError(f"there is no model or folder '{text}'; {nearest(text.lower(), names)}")
        folder = fetch(text, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    return _recognise(folder), folder


def _recognise(folder: Path) -> Entry:
    """The system whose checkpoint a folder holds."""
    # In the order of the catalogue: a system that adds genes to a family comes before the bare family.
    for entry, module in _systems():
        if module.recognises(folder):
            return entry
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        raise CheckpointError(
            f"no model recognises the folder {folder}: it is empty; fetch the checkpoint again"
        )
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    near = [entry for entry in available() if any(name in entry.files for name in names)]
    wanted = "; ".join(f"{entry.name} needs {entry.files}" for entry in near[:3])
    wanted = wanted or "`biolm models` says which files each model needs"
    raise CheckpointError(f"no model recognises the folder {folder}, which holds {shown}: {wanted}")


def _systems() -> Iterator[tuple[Entry, Any]]:
    """Systems that recognise folders; one that cannot be imported here is passed over."""
    for entry in available():
        try:
            module = entry.imported()
        except ConfigError:
            continue
        if hasattr(module, "recognises"):
            yield entry, module


def _never(path: Path) -> bool:  # noqa: ARG001  # stands in for a module's own
    """Most systems are folders."""
    return False


def fetch(
    hub_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Folder with the files of a hub repository, or of one folder of it.

    Parameters
    ----------
    hub_id
        ``org/name``, or ``org/name/folder``.
    revision, cache_dir, local_files_only
        As of :func:`load`.

    Raises
    ------
    ConfigError
        If the extra ``hub`` is not installed.
    CheckpointError
        If it cannot be fetched.
    """
    address, hub = hub_of(hub_id)
    if revision is not None:
        address = replace(address, revision=revision)
    beside, files = ((), SAFE_FILES) if hub is None else (hub.beside, hub.files)
    if hub is not None and not hub.commercial:
        log.warning("the weights of %s are not for commercial use (%s)", address.repository, hub.licence)
    return download(
        address, beside=beside, files=files, cache_dir=cache_dir, local_files_only=local_files_only
    )
