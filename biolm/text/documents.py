"""Documents as a kind of data: recognised, read block by block, and turned into vectors by a text encoder.

Dimensions: ``n`` documents of a block · ``d`` width of the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from biolm.common_options import PRECISIONS
from biolm.errors import ConfigError
from biolm.jobs.modality import Modality
from biolm.jobs.rows import RowEmbedding, RowWriter
from biolm.progress import log

if TYPE_CHECKING:
    from biolm.io.text.document import Document
    from biolm.io.text.formats import ReadOptions
    from biolm.models.model import EmbedOptions
    from biolm.text.embed import TextEncoder

__all__ = ["MODALITY", "DocumentFile", "DocumentModel", "Documents", "load_documents_model"]

_ENDINGS = (".jsonl", ".ndjson", ".nbib", ".medline", ".pubtator", ".conll", ".iob")
# Others write these too, so that their beginning is looked at.
_SHARED_ENDINGS = (".xml", ".json")
_WEIGHTS = (".json", ".txt", ".safetensors", ".bin", ".model")


@dataclass(frozen=True)
class DocumentFile:
    """A file of documents and how it is read, for what its name does not tell.

    Parameters
    ----------
    path
        The file or folder.
    options
        Its format, and what is done with what does not fit.

    Examples
    --------
    >>> from biolm.io.text import ReadOptions
    >>> DocumentFile(Path("abstracts.txt"), ReadOptions(format="lines")).path.name
    'abstracts.txt'
    """

    path: Path
    options: ReadOptions | None = None


class Documents:
    """Open documents; only their names are held.

    Parameters
    ----------
    data
        A path, or a file with the way to read it.

    Raises
    ------
    InputError
        If a document cannot be read, or does not fit and the options do not say what to do about it.
    """

    def __init__(self, data: str | Path | DocumentFile) -> None:
        from biolm.io.text.formats import read_documents
        from biolm.io.text.raw import ReadReport

        file = data if isinstance(data, DocumentFile) else DocumentFile(Path(data))
        self.path: Path | None = file.path
        self._file, report = file, ReadReport()
        # The first pass checks the whole file before the model is loaded; texts are read again block by
        # block.
        self._names = np.array([each.name for each in read_documents(file.path, file.options, report=report)])
        log.info("%s: %s", file.path, report)

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[list[Document]]:
        """Documents ``start`` to ``stop`` in order, ``rows`` a block."""
        from biolm.io.text.formats import read_documents

        documents = islice(read_documents(self._file.path, self._file.options), start, stop)
        while block := list(islice(documents, rows)):
            yield block

    def names(self) -> NDArray[np.str_]:
        """``(n,)`` the name of each document."""
        return self._names.astype(str)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Nothing is known of a document beside its name."""
        return {}

    def close(self) -> None:
        """Files are open only while blocks are read."""


@dataclass(frozen=True, slots=True)
class _Binding:
    """How long texts are read, and how many there are: part of where vectors come from."""

    overlap: int | None
    facts: dict[str, Any]


class DocumentModel:
    """A text encoder as jobs want it.

    Parameters
    ----------
    encoder
        The encoder.
    name
        Names the result: ``obsm["X_<name>"]``.
    folder
        Where it was loaded from, for the checkpoint's hash.
    """

    modality: ClassVar[str] = "documents"
    block_rows: ClassVar[int] = 256

    def __init__(self, encoder: TextEncoder, name: str, folder: Path) -> None:
        self.encoder, self.name, self._folder = encoder, name, folder

    @property
    def width(self) -> int:
        """``d``."""
        return int(self.encoder.facts["width"])

    @property
    def precisions(self) -> tuple[str, ...]:
        """Number types that it runs in; families that the core does not have run in float32 alone."""
        return PRECISIONS if self.encoder.facts["engine"] == "core" else ("float32",)

    @property
    def pools(self) -> tuple[str, ...]:
        """The folder's own way to pool, then the others."""
        from biolm.text.embed import POOLS

        own = self.encoder.pool
        return (own, *(pool for pool in POOLS if pool != own))

    def bind(self, source: Documents, settings: Any) -> _Binding:
        """Count which texts are longer than the model reads, and say so.

        Parameters
        ----------
        source
            The open documents.
        settings
            Choices of the job: ``overlap``, ``block_rows``.

        Raises
        ------
        ConfigError
            If an option is set that text encoders do not have, or windows cannot share so many pieces.
        """
        for option, own in (("hidden_state", None), ("compile", False)):
            if getattr(settings, option) != own:
                raise ConfigError(f"`{option}` means nothing for text encoders; leave it out")
        from biolm.text.embed import length_report

        report = length_report(
            self.encoder, (each.text for block in source.blocks(256) for each in block), settings.overlap
        )
        log.info("%s", report)
        metadata = {"lengths": str(report), "overlap": settings.overlap, "normalised": self.encoder.normalise}
        return _Binding(settings.overlap, metadata)

    def embed(self, block: list[Document], binding: _Binding, options: EmbedOptions) -> NDArray[np.float32]:
        """``(n, d)``, a vector for each document; see :func:`biolm.text.embed.embed_texts`.

        Parameters
        ----------
        block
            Documents.
        binding
            What :meth:`bind` gave.
        options
            Pool, windows, device, size of batches.
        """
        from dataclasses import replace

        from biolm.text.embed import embed_texts

        # A copy: two jobs of one loaded model may pool differently.
        encoder = replace(self.encoder, pool=options.pool or self.encoder.pool)
        return embed_texts(
            encoder,
            [each.text for each in block],
            overlap=binding.overlap,
            batch_tokens=options.batch_tokens,
            device=options.device,
            precision=options.precision,
        )

    def describe(self) -> dict[str, Any]:
        """Plain facts for provenance: kind, hash of the folder, width, longest input."""
        from biolm.core.checkpoint import hash_files

        files = sorted(path for path in self._folder.rglob("*") if path.suffix in _WEIGHTS)
        longest = {"max_length": self.encoder.longest}
        return {"kind": "text encoder", "sha256": hash_files(files), **self.encoder.facts, **longest}


def load_documents_model(name: str | Path) -> DocumentModel:
    """The text encoder of a folder, a hub id, or ``minilm``.

    Raises
    ------
    ConfigError, CheckpointError
        If there is no such folder, or it holds no encoder.
    """
    from biolm.text.embed import load_encoder
    from biolm.text.models import model_folder

    folder = model_folder(name)
    return DocumentModel(load_encoder(folder), Path(name).name, folder)


def _recognises(data: Any) -> bool:
    if not isinstance(data, str | Path):
        return isinstance(data, DocumentFile)
    path = Path(data)
    # BRAT keeps its annotations beside the texts; other folders are for other kinds of data.
    if path.is_dir():
        return any(path.glob("*.ann"))
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending in _SHARED_ENDINGS and path.is_file():
        from biolm.io.text.formats import format_of

        return format_of(path) in ("bioc-xml", "bioc-json", "medline")
    return ending in _ENDINGS


def _open(data: Any, settings: Any) -> AbstractContextManager[Documents]:  # noqa: ARG001  # the contract
    return closing(Documents(data))


MODALITY = Modality(
    name="documents",
    recognises=_recognises,
    open=_open,
    embedding=RowEmbedding,
    writer=RowWriter(),
    load=load_documents_model,
)
"""The entry of documents; ``biolm text`` does what only documents have."""
