"""Text as a store that ``biolm pretrain`` reads: ``python text_store.py FILE... FOLDER``, a document a line.

Of a ``.jsonl`` file the title and abstract (or ``text``) of each line are a document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biolm.io.sequences import SequenceBlock, build_store

FIELDS = ("title", "abstract", "text")


class Lines:
    """The documents of a file, as a source of sequences."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def blocks(self, **_sizes: Any) -> Iterator[SequenceBlock]:
        """All documents, in one block."""
        texts = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if self.path.suffix == ".jsonl":
                entry = json.loads(line)
                line = " ".join(str(entry[name]) for name in FIELDS if entry.get(name))
            # Letters beyond ASCII are left out: the store holds one byte a letter.
            kept = line.encode("ascii", "ignore").decode()
            if kept.strip():
                texts.append(kept)
        yield SequenceBlock.of(texts, [f"{self.path.stem}_{number}" for number in range(1, len(texts) + 1)])


def main() -> None:
    """Read the files, write the store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    build_store((Lines(path) for path in chosen.files), chosen.folder)


if __name__ == "__main__":
    main()
