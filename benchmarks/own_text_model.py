"""Train a small XLNet on abstracts and set its held-out loss beside counts of bytes.

    python benchmarks/own_text_model.py TEXT -o FOLDER [--recipe FILE] [--set KEY=VALUE ...]

``TEXT`` is the folder with ``medline/medline_2000.jsonl``; every twentieth citation is held out. A recipe,
``workflows/pretrain/xlnet-mini.yaml`` by default, is trained on the others, and so are the counts. Then all
predict the same bytes: those at the end of one random order of each held-out piece. ``bigram`` is told the
byte before, ``both neighbours`` the one after as well, whether or not the order has shown them to the model.

Dimensions: ``m`` predicted bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import biolm
from biolm.batch import Batch
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel
from biolm.objectives.base import Metadata
from biolm.objectives.permuted_tokens import PermutedTokens, PermutedTokensSettings

FOLDER = Path(__file__).resolve().parent.parent / "workflows/pretrain"
EVERY, WINDOW = 20, 128
SIZE = 257  # bytes, and the border of a piece
BORDER = 256


def split(folder: Path, output: Path) -> tuple[Path, list[str], list[str]]:
    """Write the citations to learn from; return their file, their texts and those held out."""
    lines = (folder / "medline" / "medline_2000.jsonl").read_text(encoding="utf-8").splitlines()
    train = [line for number, line in enumerate(lines) if number % EVERY]
    path = output / "train.jsonl"
    path.write_text("\n".join(train) + "\n", encoding="utf-8")
    return path, [text_of(line) for line in train], [text_of(line) for line in lines[::EVERY]]


def text_of(line: str) -> str:
    """Title and abstract, ASCII alone, as ``text_store.py`` writes them."""
    entry = json.loads(line)
    joined = " ".join(str(entry[name]) for name in ("title", "abstract") if entry.get(name))
    return joined.encode("ascii", "ignore").decode()


def pieces(texts: list[str]) -> list[str]:
    """Whole pieces of :data:`WINDOW` bytes."""
    return [t[at : at + WINDOW] for t in texts for at in range(0, len(t) - WINDOW + 1, WINDOW)]


def padded(text: str) -> NDArray[np.int64]:
    """Bytes between two borders."""
    return np.array([BORDER, *text.encode("ascii"), BORDER], np.int64)


class Counts:
    """Frequencies of bytes: of all, after the byte before, and between both neighbours, each backed off."""

    def __init__(self, texts: list[str], trust: float = 20.0) -> None:
        self.trust = trust
        self.one, self.two = np.ones(SIZE), np.zeros((SIZE, SIZE))
        self.three: dict[tuple[int, int], NDArray[np.float64]] = {}
        for text in texts:
            codes = padded(text)
            np.add.at(self.one, codes[1:-1], 1)
            np.add.at(self.two, (codes[:-2], codes[1:-1]), 1)
            for before, own, after in zip(codes, codes[1:], codes[2:], strict=False):
                pair = (int(before), int(after))
                self.three.setdefault(pair, np.zeros(SIZE))[own] += 1
        self.one /= self.one.sum()

    def losses(self, codes: NDArray[np.int64], places: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Minus log-probability ``(m,)`` of the bytes at some places of a padded piece."""
        found: dict[str, list[float]] = {"unigram": [], "bigram": [], "both neighbours": []}
        for place in places.tolist():
            before, own, after = codes[place - 1 : place + 2].tolist()
            table = self._backed(self.two[before], self.one)
            both = self._backed(self.three.get((before, after), np.zeros(SIZE)), table)
            for name, row in zip(found, (self.one, table, both), strict=True):
                found[name].append(-float(np.log(row[own])))
        return {name: np.array(values) for name, values in found.items()}

    def _backed(self, counts: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
        return (counts + self.trust * below) / (counts.sum() + self.trust)


@torch.inference_mode()
def compare(model: SequenceModel, held: list[str], counts: Counts) -> dict[str, float]:
    """Mean loss, in nats a byte, of the model and of the counts."""
    before, special = model.preprocessor.special[0], model.tokenizer.special
    marks = {*special.prefix, *special.suffix, *special.others} | ({special.pad} - {None})
    facts = Metadata(core=model.config, special_ids=tuple(sorted(marks)))
    objective = PermutedTokens(facts, PermutedTokensSettings())
    tokens = model.tokenize(SequenceBlock.of(held))
    found: dict[str, list[NDArray[np.float64]]] = {}
    for row in range(len(held)):
        batch = Batch.from_tokens(tokens, np.array([row]))
        prepared = objective.prepare(batch, torch.tensor([row]), epoch=0, seed=1)
        loss, _ = objective.loss(model.core, prepared)
        assert prepared.rows is not None
        places = prepared.rows.numpy() - before + 1
        own = {**counts.losses(padded(held[row]), places)}
        own["model"] = np.full(len(places), float(loss))
        for name, values in own.items():
            found.setdefault(name, []).append(values)
    return {name: float(np.concatenate(each).mean()) for name, each in found.items()}


def main() -> None:
    """Train, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, help="folder with medline/")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=FOLDER / "xlnet-mini.yaml")
    parser.add_argument("--set", action="append", default=[], help="another setting of the recipe")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    path, train, held = split(chosen.text, chosen.output)
    if not (chosen.output / "run" / "model").is_dir():
        store = chosen.output / "store"
        subprocess.run([sys.executable, str(FOLDER / "text_store.py"), str(path), str(store)], check=True)
        began = time.process_time()
        biolm.pretrain(chosen.recipe, chosen.output / "run", changes=[f"data.paths=[{store}]", *chosen.set])
        print(f"trained in {(time.process_time() - began) / 60:.1f} CPU minutes")
    model = biolm.load(chosen.output / "run" / "model")
    assert isinstance(model, SequenceModel)
    some = pieces(held)
    result = compare(model, some, Counts(train))
    print(f"{len(some)} held-out pieces of {WINDOW} bytes\n| | nats a byte | perplexity |\n|---|---|---|")
    for name, value in result.items():
        print(f"| {name} | {value:.3f} | {np.exp(value):.2f} |")
    (chosen.output / "scores.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
