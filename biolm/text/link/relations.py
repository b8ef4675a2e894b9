"""Relations between two kinds of entities of a document, predicted by a linear model over all their mentions.

Dimensions: ``n`` pairs of a set of documents.

A pair is one identifier of each kind in one document. What is read: words between and around the nearest
mentions in one sentence, how often and where both are named, whether they share a sentence, and the names'
overlap. The threshold is chosen on training documents alone, by cross-validation over documents.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.text.document import Document, Mention, Relation, split_ids
from biolm.io.text.words import split_sentences, split_words

__all__ = ["Pair", "RelationModel", "all_pairs", "pairs_of", "same_sentence"]

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Two identifiers of a document, with their mentions."""

    document: int
    ids: tuple[str, str]
    mentions: tuple[tuple[Mention, ...], tuple[Mention, ...]]


def _by_id(document: Document, kind: str) -> dict[str, list[Mention]]:
    mentions: dict[str, list[Mention]] = defaultdict(list)
    for mention in document.mentions:
        if mention.kind == kind:
            for each in split_ids(mention.ids):
                mentions[each].append(mention)
    return mentions


def pairs_of(documents: Sequence[Document], kinds: tuple[str, str]) -> list[Pair]:
    """All pairs of identifiers of the two kinds, document by document.

    Parameters
    ----------
    documents
        With entities.
    kinds
        Of the entities.
    """
    pairs = []
    for number, document in enumerate(documents):
        left, right = (_by_id(document, kind) for kind in kinds)
        for a, b in product(left, right):
            pairs.append(Pair(number, (a, b), (tuple(left[a]), tuple(right[b]))))
    return pairs


def _with_relations(
    documents: Sequence[Document],
    pairs: Sequence[Pair],
    kept: Sequence[float | None],
    kind: str,
    roles: tuple[str, str],
) -> list[Document]:
    rows: list[list[Relation]] = [[] for _ in documents]
    for pair, score in zip(pairs, kept, strict=True):
        if score is not None:
            arguments = tuple(zip(roles, pair.ids, strict=True))
            rows[pair.document].append(Relation(kind, arguments, round(score, 4)))
    return [
        replace(each, relations=tuple(relations)) for each, relations in zip(documents, rows, strict=True)
    ]


def all_pairs(documents: Sequence[Document], kinds: tuple[str, str], kind: str = "CID") -> list[Document]:
    """The control that relates every pair.

    Parameters
    ----------
    documents
        With entities.
    kinds
        Of the entities.
    kind
        Of the relation.
    """
    pairs = pairs_of(documents, kinds)
    return _with_relations(documents, pairs, [1.0] * len(pairs), kind, kinds)


def same_sentence(documents: Sequence[Document], kinds: tuple[str, str], kind: str = "CID") -> list[Document]:
    """The control that relates pairs that share a sentence.

    Parameters
    ----------
    documents
        With entities.
    kinds
        Of the entities.
    kind
        Of the relation.
    """
    pairs = pairs_of(documents, kinds)
    reads = [_Read(document) for document in documents]
    kept = [1.0 if reads[pair.document].shared(pair) else None for pair in pairs]
    return _with_relations(documents, pairs, kept, kind, kinds)


class _Read:
    """Sentences and words of a document, by place."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.sentences = list(split_sentences(document.text)) or [(0, len(document.text))]
        self.starts = np.array([start for start, _ in self.sentences])
        self.title = len(document.title)

    def sentence(self, mention: Mention) -> int:
        return max(0, int(np.searchsorted(self.starts, mention.start, side="right")) - 1)

    def shared(self, pair: Pair) -> set[int]:
        left, right = ({self.sentence(mention) for mention in each} for each in pair.mentions)
        return left & right

    def features(self, pair: Pair, others: Sequence[Mention]) -> dict[str, float]:
        """Named numbers of one pair."""
        left, right = pair.mentions
        shared = self.shared(pair)
        a, b = ({self.sentence(mention) for mention in each} for each in pair.mentions)
        # The closest mentions decide: one sentence that names both is enough for a relation.
        gap = min(abs(x - y) for x in a for y in b)
        features: dict[str, float] = {
            "shared": float(bool(shared)),
            "log shared": float(np.log1p(len(shared))),
            f"gap={min(gap, 4)}": 1.0,
            "log left": float(np.log1p(len(left))),
            "log right": float(np.log1p(len(right))),
            "left in title": float(any(mention.start < self.title for mention in left)),
            "right in title": float(any(mention.start < self.title for mention in right)),
        }
        features["both in title"] = features["left in title"] * features["right in title"]
        for side, own in (("left", left), ("right", right)):
            most = max(
                (sum(o.ids == m.ids for o in others) for m in others if m.kind == own[0].kind), default=1
            )
            features[f"{side} is most frequent"] = float(len(own) >= most)
            features[f"{side} in last"] = float(max(self.sentence(m) for m in own) >= len(self.sentences) - 2)
            features[f"{side} in first"] = float(min(self.sentence(m) for m in own) <= 1)
        self._words(pair, shared, others, features)
        return features

    def _words(
        self, pair: Pair, shared: set[int], others: Sequence[Mention], features: dict[str, float]
    ) -> None:
        """Words of the closest mentions of each shared sentence; else those before and behind each name."""
        for number in shared:
            here = [[m for m in each if self.sentence(m) == number] for each in pair.mentions]
            left, right = min(
                product(*here), key=lambda two: (abs(two[0].start - two[1].start), two[0].start)
            )
            first, last = sorted((left, right), key=lambda mention: mention.start)
            order = "LR" if first is left else "RL"
            between = self._plain(first.end, last.start, others)
            features[f"order={order}"] = 1.0
            features[f"near={'adjacent' if len(between) < 2 else min(len(between) // 4, 4)}"] = 1.0
            for word in set(between):
                features[f"between {word}"] = 1.0
                features[f"{order} {word}"] = 1.0
            for one, two in set(pairwise(between)):
                features[f"{order} {one} {two}"] = 1.0
            low, high = self.sentences[number]
            for word in self._plain(max(low, first.start - 40), first.start, others)[-3:]:
                features[f"before {word}"] = 1.0
            for word in self._plain(last.end, min(high, last.end + 40), others)[:3]:
                features[f"behind {word}"] = 1.0
        if not shared:
            for name, each in zip("LR", pair.mentions, strict=True):
                for mention in each:
                    words = self._plain(mention.end, min(len(self.document.text), mention.end + 30), others)[
                        :2
                    ]
                    words += self._plain(max(0, mention.start - 30), mention.start, others)[-2:]
                    for word in words:
                        features[f"beside {name} {word}"] = 1.0

    def _plain(self, start: int, end: int, others: Sequence[Mention]) -> list[str]:
        """Words of a stretch in lower case; names of other mentions become their kind."""
        words: list[str] = []
        inside = sorted((m for m in others if start <= m.start and m.end <= end), key=lambda m: m.start)
        at = start
        for mention in [*inside, None]:
            stop = mention.start if mention is not None else end
            if stop > at:
                part = self.document.text[at:stop]
                words += [_stem(part[a:b]) for a, b in split_words(part)]
            if mention is not None:
                # Kinds and not names, or the model would learn which drug is known for which disease.
                words.append(f"<{mention.kind}>")
                at = max(at, mention.end)
        return words


def _stem(word: str) -> str:
    word = "0" if word.isdigit() else word.lower()
    return re.sub(r"(ing|ed|es|s)$", "", word) if len(word) > 5 else word


class RelationModel:
    """A logistic regression over pairs, with its threshold.

    Parameters
    ----------
    kinds
        The two kinds of entities.
    relation
        Type of the relations.
    strength
        Inverse of the L2 penalty.
    seed
        Of the folds.
    """

    def __init__(
        self,
        kinds: tuple[str, str] = ("Chemical", "Disease"),
        relation: str = "CID",
        *,
        strength: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not strength > 0:
            raise ConfigError(f"strength must be above 0, not {strength}")
        self.kinds, self.relation, self.strength, self.seed = kinds, relation, strength, seed
        self.threshold = 0.5
        self._model: Any = None

    def fit(self, documents: Sequence[Document]) -> RelationModel:
        """Learn from annotated documents; the threshold from folds of documents.

        Raises
        ------
        InputError
            If they hold no relation between known pairs.
        """
        pairs, features = self._read(documents)
        gold = [
            {
                tuple(value for _, value in each.arguments)
                for each in document.relations
                if each.kind == self.relation
            }
            for document in documents
        ]
        target = np.array([pair.ids in gold[pair.document] for pair in pairs], int)
        if not 0 < target.sum() < len(target):
            raise InputError(
                f"{len(pairs):,} pairs hold {int(target.sum()):,} relations of the type {self.relation}; "
                "give documents with and without them"
            )
        # Relations whose names nobody linked: no threshold gets them back, and F1 must know of them.
        lost = sum(map(len, gold)) - int(target.sum())
        fold = np.random.default_rng(self.seed).permutation(len(documents)) % _FOLDS
        # By document, as pairs of one share its words.
        owner = fold[[pair.document for pair in pairs]]
        scores = np.zeros(len(pairs))
        for number in range(_FOLDS):
            inside = owner != number
            # A fold without documents, or whose rest is of one class, cannot train a model.
            if inside.all() or not 0 < target[inside].sum() < inside.sum():
                continue
            model = self._new().fit(
                [f for f, used in zip(features, inside, strict=True) if used], target[inside]
            )
            rest = [f for f, used in zip(features, inside, strict=True) if not used]
            scores[~inside] = model.predict_proba(rest)[:, 1]
        self.threshold = _best_threshold(scores, target, lost)
        self._model = self._new().fit(features, target)
        return self

    def _new(self) -> Any:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        # Features stay sparse: words make tens of thousands of them.
        return make_pipeline(DictVectorizer(), LogisticRegression(C=self.strength, max_iter=1000))

    def _read(self, documents: Sequence[Document]) -> tuple[list[Pair], list[dict[str, float]]]:
        pairs = pairs_of(documents, self.kinds)
        reads = [_Read(document) for document in documents]
        return pairs, [
            reads[pair.document].features(pair, documents[pair.document].mentions) for pair in pairs
        ]

    def predict(self, documents: Sequence[Document]) -> list[Document]:
        """The documents with the relations that the model finds among their linked mentions.

        Raises
        ------
        ConfigError
            Before :meth:`fit`.
        """
        if self._model is None:
            raise ConfigError("the model of relations has not been trained; fit it first")
        pairs, features = self._read(documents)
        scores: NDArray[np.float64] = self._model.predict_proba(features)[:, 1] if pairs else np.zeros(0)
        kept = [float(score) if score >= self.threshold else None for score in scores]
        return _with_relations(documents, pairs, kept, self.relation, self.kinds)


def _best_threshold(scores: NDArray[np.float64], target: NDArray[np.int_], lost: int) -> float:
    """The score from which relations are predicted, chosen by F1; ``lost`` relations have no pair."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(target[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + target.sum() + lost)
    best = int(f1.argmax())
    # Halfway to the next score, so that rounding on another machine changes no decision.
    after = scores[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((scores[order[best]] + after) / 2)
