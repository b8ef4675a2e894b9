"""BLEU and ROUGE of generated texts.

BLEU (Papineni et al. 2002) over a corpus, with the tokenisation ``13a`` and the exponential smoothing that
sacreBLEU (Post 2018) uses by default; ROUGE (Lin 2004) as F1 of word n-grams and of the longest common
subsequence. Figures without the signature cannot be compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biolm.errors import InputError

__all__ = ["Bleu", "bleu", "rouge"]


@dataclass(frozen=True, slots=True)
class Bleu:
    """Score in percent with the signature that makes it comparable.

    ``precisions`` are those of 1- to 4-grams in percent, ``brevity`` the brevity penalty.
    """

    score: float
    precisions: tuple[float, ...]
    brevity: float
    signature: str

    def __str__(self) -> str:
        return f"BLEU {self.score:.2f} ({'/'.join(f'{p:.1f}' for p in self.precisions)}, {self.signature})"


def _words_13a(text: str) -> list[str]:
    """Tokens of the mteval-v13a script."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, letter in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, letter)
    text = re.sub(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", r" \1 ", f" {text} ")
    text = re.sub(r"([^0-9])([\.,])", r"\1 \2 ", text)
    text = re.sub(r"([\.,])([^0-9])", r" \1 \2", text)
    text = re.sub(r"([0-9])(-)", r"\1 \2 ", text)
    return text.split()


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[n : n + size]) for n in range(len(words) - size + 1))


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool = False) -> Bleu:
    """Corpus BLEU.

    Parameters
    ----------
    texts
        One text a document.
    references
        One or more references for each.
    lowercase
        Whether case is ignored.

    Examples
    --------
    >>> round(bleu(["the cat sat on the mat"], [["the cat sat on a mat"]]).score, 2)
    53.73
    """
    if len(texts) != len(references) or not texts:
        raise InputError(f"{len(texts)} texts and {len(references)} sets of references; give one for each")
    hits, totals = np.zeros(4), np.zeros(4)
    length = reference_length = 0
    for text, golds in zip(texts, references, strict=True):
        lower = [each.lower() if lowercase else each for each in (text, *golds)]
        words, *others = (_words_13a(each) for each in lower)
        length += len(words)
        # The closest reference, the shorter of two as close: what mteval does.
        reference_length += min((abs(len(o) - len(words)), len(o)) for o in others)[1]
        for size in range(1, 5):
            best: Counter[tuple[str, ...]] = Counter()
            for other in others:
                best |= _grams(other, size)
            grams = _grams(words, size)
            hits[size - 1] += (grams & best).total()
            totals[size - 1] += grams.total()
    precisions, smooth = [], 1.0
    for hit, total in zip(hits.tolist(), totals.tolist(), strict=True):
        if total and not hit:
            # sacrebleu's exponential smoothing: an n-gram size without a hit would make the score 0.
            smooth *= 2
            precisions.append(100.0 / (smooth * total))
        else:
            precisions.append(100.0 * hit / total if total else 0.0)
    brevity = (
        1.0 if length >= reference_length else math.exp(1 - reference_length / length) if length else 0.0
    )
    least = min(precisions)
    score = brevity * math.exp(sum(math.log(p) for p in precisions) / 4) if least > 0 else 0.0
    most = max(len(golds) for golds in references)
    case = "lc" if lowercase else "mixed"
    signature = f"nrefs:{most}|case:{case}|eff:no|tok:13a|smooth:exp"
    return Bleu(score, tuple(float(p) for p in precisions), brevity, signature)


def rouge(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L; words are runs of ASCII letters and digits, in lower case.

    Parameters
    ----------
    texts, references
        Texts, pair by pair.

    Examples
    --------
    >>> {name: round(value, 2) for name, value in rouge(["the cat sat"], ["the cat ran"]).items()}
    {'rouge1': 0.67, 'rouge2': 0.5, 'rougeL': 0.67}
    """
    if len(texts) != len(references) or not texts:
        raise InputError(f"{len(texts)} texts and {len(references)} references; give one for each")
    rows = []
    for text, gold in zip(texts, references, strict=True):
        a, b = (re.findall(r"[a-z0-9]+", each.lower()) for each in (text, gold))
        grams = [(_grams(a, n), _grams(b, n)) for n in (1, 2)]
        row = [_f((x & y).total(), x.total(), y.total()) for x, y in grams]
        rows.append([*row, _f(_common(a, b), len(a), len(b))])
    means = np.mean(rows, 0)
    return dict(zip(("rouge1", "rouge2", "rougeL"), (float(each) for each in means), strict=True))


def _f(hits: int, left: int, right: int) -> float:
    return 2 * hits / (left + right) if left and right else 0.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, 1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
