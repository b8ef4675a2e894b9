"""Scores of files, as lines to print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError, InputError
from biolm.io.json_file import parse_json
from biolm.io.text import Document, ReadOptions, read_documents
from biolm.io.text.source import lines_of
from biolm.text.scores.bootstrap import compare_f1, f1_interval
from biolm.text.scores.entities import Counts, entity_scores, pair_documents
from biolm.text.settings import SCORED

__all__ = ["evaluate_files"]


def evaluate_files(
    kind: str,
    predicted: Path,
    *,
    gold: Path | None = None,
    other: Path | None = None,
    reading: ReadOptions | None = None,
    lenient: bool = False,
    model: str | None = None,
    stride: int | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """Lines of scores.

    Parameters
    ----------
    kind
        ``ner``, ``bc5cdr``, ``squad``, ``bioasq``, ``bleu``, ``rouge`` or ``perplexity``.
    predicted
        Predictions; for perplexity the texts.
    gold
        What is right.
    other
        Predictions to compare with in pairs, for ``ner`` and ``bc5cdr``.
    reading
        How documents are read.
    lenient
        For ``ner`` over CoNLL files: the lenient score beside the strict one.
    model, stride
        For ``perplexity``.
    seed
        Of the bootstrap.

    Raises
    ------
    ConfigError
        For another kind, or options that the kind does not use.
    """
    if kind not in SCORED:
        raise ConfigError(f"kind must be one of {', '.join(SCORED)}, not {kind!r}")
    given = {"gold": gold, "other": other, "lenient": lenient, "model": model, "stride": stride, "seed": seed}
    for name, value in given.items():
        if value and name not in SCORED[kind]:
            raise ConfigError(f"`{name}` does nothing for the kind {kind}; leave it out")
    if kind == "perplexity":
        yield from _perplexity(predicted, model, stride, reading)
        return
    if gold is None:
        raise ConfigError(f"the kind {kind} needs the right answers (`gold`)")
    if kind in ("ner", "bc5cdr"):
        yield from _documents(kind, predicted, gold, other, reading, lenient=lenient, seed=seed)
    elif kind in ("bleu", "rouge"):
        yield from _texts(kind, predicted, gold)
    else:
        yield from _answers(kind, predicted, gold)


def _documents(
    kind: str,
    predicted: Path,
    gold: Path,
    other: Path | None,
    reading: ReadOptions | None,
    *,
    lenient: bool,
    seed: int,
) -> Iterator[str]:
    right = list(read_documents(gold, reading))
    counts = {}
    for name, path in (("", predicted), ("other ", other)):
        if path is None:
            continue
        given = list(read_documents(path, reading))
        counts[name] = _strict(right, given) if kind == "ner" else _cdr(right, given)
        for what, (total, rows) in counts[name].items():
            yield (
                f"{name}{what}: TP {total.tp} FP {total.fp} FN {total.fn}, P {total.precision:.3f} "
                f"R {total.recall:.3f} F1 {f1_interval(rows, seed=seed)}"
            )
    if lenient:
        yield _lenient(right, list(read_documents(predicted, reading)))
    if other is not None:
        for what, (_, rows) in counts[""].items():
            if what in counts["other "] and " " not in what.removeprefix("strict "):
                difference, verdict = compare_f1(rows, counts["other "][what][1], seed=seed)
                yield f"{what}: difference of F1 {difference}, {verdict}"


def _strict(gold: list[Document], predicted: list[Document]) -> dict[str, tuple[Counts, list[Counts]]]:
    pairs = pair_documents(gold, predicted)
    given = [right for _, right in pairs]
    whole = entity_scores(gold, given)
    rows = {"strict": (whole.total, whole.documents)}
    for name in whole.kinds:
        part = entity_scores(gold, given, kinds=[name])
        rows[f"strict {name}"] = (part.total, part.documents)
    return rows


def _cdr(gold: list[Document], predicted: list[Document]) -> dict[str, tuple[Counts, list[Counts]]]:
    from biolm.text.scores.bc5cdr import score_bc5cdr

    scores = score_bc5cdr(gold, predicted)
    return {name: (getattr(scores, name), scores.documents[name]) for name in ("mention", "id", "relation")}


def _lenient(gold: list[Document], predicted: list[Document]) -> str:
    from biolm.io.text.tags import encode_tags
    from biolm.text.scores.lenient import lenient_counts

    sides: list[list[list[str]]] = [[], []]
    for pair in pair_documents(gold, predicted):
        words = pair[0].words
        if not words:
            raise ConfigError("`lenient` scores tags, so it needs CoNLL files")
        begins = {start: n for n, (start, _) in enumerate(words)}
        ends = {end: n + 1 for n, (_, end) in enumerate(words)}
        for side, document in zip(sides, pair, strict=True):
            entities = [(begins[m.start], ends[m.end], m.kind) for m in document.mentions]
            side.append(encode_tags(entities, len(words)))
    counts = lenient_counts(sides[0], sides[1])
    return f"lenient (seqeval's default, not for comparison with strict scores): F1 {counts.f1:.3f}"


def _texts(kind: str, predicted: Path, gold: Path) -> Iterator[str]:
    from biolm.text.scores.overlap import bleu, rouge

    ours, theirs = ([line for _, line in lines_of(path)] for path in (predicted, gold))
    if kind == "bleu":
        yield str(bleu(ours, [line.split("\t") for line in theirs]))
    else:
        yield ", ".join(f"{name} {value:.4f}" for name, value in rouge(ours, theirs).items())


def _answers(kind: str, predicted: Path, gold: Path) -> Iterator[str]:
    from biolm.io.text.questions import read_bioasq, read_squad
    from biolm.text.scores.answers import bioasq_scores, squad_scores

    stored: Any = parse_json(predicted.read_bytes(), predicted, InputError)
    if kind == "squad":
        if not isinstance(stored, dict):
            raise InputError(f"{predicted} must be an object from question to answer")
        scores = squad_scores(read_squad(gold), {str(name): str(text) for name, text in stored.items()})
    else:
        rows = stored.get("questions", []) if isinstance(stored, dict) else []
        scores = bioasq_scores(read_bioasq(gold), {str(row["id"]): row.get("exact_answer") for row in rows})
    for name, value in scores.items():
        yield f"{name}: {value:.4f}"


def _perplexity(
    path: Path, model: str | None, stride: int | None, reading: ReadOptions | None
) -> Iterator[str]:
    from biolm.text.chat.local import load_writer
    from biolm.text.models import model_folder
    from biolm.text.scores.perplexity import perplexity

    if model is None:
        raise ConfigError("perplexity needs a causal model (`model`)")
    core, tokenizer = load_writer(model_folder(model))
    texts = [document.text for document in read_documents(path, reading)]
    result = perplexity(core, tokenizer, texts, stride=stride)
    yield f"perplexity per token {result.per_token:.3f} ({result.tokens:,} tokens of this tokenizer)"
    yield f"bits per character {result.bits_per_character:.4f} ({result.characters:,} characters)"
