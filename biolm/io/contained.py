"""HDF5 files and zarr stores that end at their own border: what leads out of one, or names code, is refused.

An HDF5 file may hold links into other files, datasets that are views of other files and datasets whose bytes
lie in any file; HDF5 follows all of them without a word, also for writing. A zarr folder may hold symbolic
links. A zarr array names the codecs that decode it, and one of those that exist is pickle, which runs code.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biolm.errors import BiolmError, InputError
from biolm.io.damage import reason_of
from biolm.io.hdf5_texts import check_heaps, extents_of
from biolm.io.json_file import parse_json

__all__ = ["check_hdf5", "check_zarr", "member_of", "open_zarr"]

CODECS = re.compile(
    r"(numcodecs\.)?(adler32|astype|bitround|blosc|bytes|bz2|crc32c?|delta|endian|fixedscaleoffset|fletcher32|gzip|"
    r"jenkins_lookup3|lz4|lzma|packbits|pcodec|quantize|sharding_indexed|shuffle|transpose|"
    r"vlen-(array|bytes|utf8)|zfpy|zlib|zstd)"
)
"""Codecs of zarr that only turn numbers and texts into bytes and back."""

_METADATA = (".zarray", ".zmetadata", "zarr.json")
# A summary of a store with 100,000 arrays takes about this many bytes.
_METADATA_BYTES = 1 << 28
# Blosc, which AnnData uses, cannot hold a larger chunk.
_CHUNK_BYTES = 1 << 31


def member_of(folder: Path, name: object, kind: type[BiolmError] = InputError) -> Path:
    """The file of a folder that another file of it names.

    Parameters
    ----------
    folder
        The folder.
    name
        What is named, perhaps inside a folder of it.
    kind
        What is raised.

    Raises
    ------
    BiolmError
        Of the kind, if that lies outside the folder.

    Examples
    --------
    >>> member_of(Path("model"), "../../etc/passwd")
    Traceback (most recent call last):
    biolm.errors.InputError: model names '../../etc/passwd', which lies outside the folder; not followed
    """
    place = folder / str(name)
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(folder)):
        raise kind(f"{folder} names {str(name)!r}, which lies outside the folder; not followed")
    return place


def check_hdf5(file: Any, path: Path) -> None:
    """Refuse an open HDF5 file with anything inside that is stored outside, or with a heap without an end.

    Parameters
    ----------
    file
        The open h5py file.
    path
        Named in the message.

    Raises
    ------
    InputError
        If it holds an external link, a virtual dataset or one with external storage; the message names it.
        Also as :func:`~biolm.io.hdf5_texts.check_heaps`.
    """
    import h5py
    from h5py import h5d, h5l, h5o

    outside: list[str] = []
    values: list[tuple[int, int]] = []

    def look(name: bytes, link: Any) -> object:
        what = ""
        if link.type == h5l.TYPE_HARD:
            node = h5o.open(file.id, name)
            if isinstance(node, h5d.DatasetID):
                plist = node.get_create_plist()
                if plist.get_layout() == h5d.VIRTUAL:
                    what = "a virtual dataset, a view of other files"
                elif plist.get_layout() == h5d.CONTIGUOUS and plist.get_external_count():
                    what = "a dataset whose values are stored in another file"
                else:
                    values.extend(extents_of(node))
        elif link.type != h5l.TYPE_SOFT:
            what = "a link into another file"
        if what:
            outside.append(f"{path} holds {what} ({name.decode('utf-8', 'replace')})")
        return outside or None

    # Hard links only are entered, each object once, so that neither a link nor a circle leads away.
    if isinstance(file, h5py.File):
        file.id.links.visit(look, info=True)
    if outside:
        raise InputError(
            f"{outside[0]}, which is not followed; write a file of its own, for example with h5repack"
        )
    if isinstance(file, h5py.File):
        check_heaps(path, values)


def open_zarr(path: Path, mode: str = "r", **options: Any) -> tuple[Any, Any]:
    """The root group of a zarr folder or zip file and its store, after a look at all that it may lead to.

    Parameters
    ----------
    path
        The folder, or a zip file.
    mode
        As for ``zarr.open_group``: ``r`` or ``r+``.
    options
        Passed to ``zarr.open_group``.

    Returns
    -------
    The group, and the store to close.

    Raises
    ------
    InputError
        As :func:`check_zarr`, or if there is no group.
    """
    import zarr

    check_zarr(path)
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else zarr.storage.LocalStore(path)
    try:
        return zarr.open_group(store, mode=mode, **options), store  # type: ignore[arg-type]  # r or r+
    except Exception as error:  # zarr raises many kinds on damaged metadata
        store.close()
        raise InputError(f"{path} is damaged: its zarr metadata cannot be read; copy it again") from error


def check_zarr(path: Path) -> None:
    """Refuse a zarr store that leads out of itself, or whose arrays name a codec not known to be safe.

    Raises
    ------
    InputError
        If there is a symbolic link out of the folder or to a folder, a member that is no plain file, metadata
        that are no JSON, or a codec outside :data:`CODECS`; the message names it.
    """
    for name, content in _zip_metadata(path) if path.is_file() else _folder_metadata(path):
        document = parse_json(content, f"{path}/{name}", InputError)
        for codec in _codecs(document):
            if not CODECS.fullmatch(codec):
                raise InputError(
                    f"{path} has an array ({name}) packed with the codec {codec!r}, which is not among those "
                    "that are safe to decode; write it again with blosc, zstd or gzip"
                )


def _folder_metadata(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every metadata document, links and odd members refused on the way."""
    border = Path(os.path.realpath(folder))
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = os.path.relpath(entry.path, folder)
                if entry.is_symlink():
                    _check_link(Path(entry.path), border, folder, name)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                    continue
                elif not entry.is_file(follow_symlinks=False):
                    raise InputError(f"{folder} holds {name}, which is no plain file; remove it")
                if entry.name in _METADATA:
                    yield name, _limited(Path(entry.path), folder, name)


def _check_link(path: Path, border: Path, folder: Path, name: str) -> None:
    target = Path(os.path.realpath(path))
    inside = target.is_relative_to(border) and target.exists() and stat.S_ISREG(target.stat().st_mode)
    if not inside:
        raise InputError(
            f"{folder} holds a symbolic link ({name}) that leads out of it or to a folder, which is not "
            "followed; copy the store with cp -rL where you trust it"
        )


def _limited(path: Path, folder: Path, name: str) -> bytes:
    if path.stat().st_size > _METADATA_BYTES:
        raise InputError(f"{folder} is damaged: its metadata {name} are over 256 MiB; copy it again")
    return path.read_bytes()


def _zip_metadata(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                is_metadata = member.filename.rpartition("/")[2] in _METADATA
                if member.file_size > (_METADATA_BYTES if is_metadata else _CHUNK_BYTES):
                    raise InputError(
                        f"{path} holds {member.filename}, which unpacks to {member.file_size:,} bytes; "
                        "write it again in smaller chunks"
                    )
                if is_metadata:
                    yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise InputError(f"{path} is a damaged zip file ({reason_of(error)}); copy it again") from error


def _codecs(document: Any) -> Iterator[str]:
    """Names of all codecs in a metadata document, also in those of a summary and inside other codecs."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in {"compressor", "filters", "codecs", "index_codecs", "compressors", "serializer"}:
                    for codec in value if isinstance(value, list) else [value]:
                        named = codec.get("id", codec.get("name")) if isinstance(codec, dict) else codec
                        if named is not None:
                            yield str(named)
                # What users write is no metadata of zarr.
                if key not in {"attributes", ".zattrs"} and not str(key).endswith("/.zattrs"):
                    waiting.append(value)
