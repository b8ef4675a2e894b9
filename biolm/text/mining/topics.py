"""Topics of documents: LSA, PLSA and LDA, with their coherence on documents held out.

Dimensions: ``n`` documents · ``v`` terms · ``k`` topics.

PLSA is non-negative factorisation under the Kullback-Leibler divergence (Gaussier and Goutte 2005). One
worker and a fixed seed everywhere, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.extras import advice
from biolm.text.mining.tokens import is_stop_word, terms_of

__all__ = ["METHODS", "Topics", "count_terms", "find_topics", "npmi_coherence", "word_vectors"]

METHODS = ("lda", "plsa", "lsa")


@dataclass(frozen=True, eq=False)
class Topics:
    """Topics with what they were learned on.

    Parameters
    ----------
    terms
        ``(v,)`` the vocabulary.
    weights
        ``(k, v)`` of terms in topics; rows sum to 1 but for LSA, whose weights have signs.
    documents
        ``(n, k)`` of topics in the training documents.
    coherence
        ``(k,)`` mean NPMI of the ten first terms of a topic over held-out documents.
    """

    terms: NDArray[np.str_]
    weights: NDArray[np.float64]
    documents: NDArray[np.float64]
    coherence: NDArray[np.float64]

    def top(self, topic: int, count: int = 10) -> list[str]:
        """The terms of most weight.

        Parameters
        ----------
        topic
            Its number.
        count
            How many terms.
        """
        order = np.argsort(-self.weights[topic], kind="stable")[:count]
        return [str(self.terms[row]) for row in order]


def _analyser(text: str) -> list[str]:
    # Numbers tell no topic apart.
    kept = [term for term, _ in terms_of(text) if len(term) > 1 and not is_stop_word(term)]
    return [term if term.isupper() else term.lower() for term in kept if not term[0].isdigit()]


def count_terms(
    texts: Sequence[str], *, least: int = 2, most: float = 0.5, tfidf: bool = False
) -> tuple[Any, NDArray[np.str_], Any]:
    """Sparse counts ``(n, v)``, the terms, and the vectoriser for further texts.

    Parameters
    ----------
    texts
        Documents.
    least
        Fewest documents that hold a term.
    most
        Largest fraction of them.
    tfidf
        TF-IDF in place of counts.

    Raises
    ------
    InputError
        If no term is left.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    make: Any = TfidfVectorizer if tfidf else CountVectorizer
    vectoriser = make(analyzer=_analyser, min_df=least, max_df=most)
    try:
        counts = vectoriser.fit_transform(texts)
    except ValueError as error:
        raise InputError(
            f"no term stands in at least {least} and at most {most:.0%} of the {len(texts):,} "
            "documents; give more"
        ) from error
    return counts, np.array(vectoriser.get_feature_names_out(), str), vectoriser


def find_topics(
    texts: Sequence[str], held_out: Sequence[str], *, method: str = "lda", topics: int = 10, seed: int = 0
) -> Topics:
    """Learn topics, and measure their coherence on documents that they were not learned on.

    Parameters
    ----------
    texts, held_out
        Documents; the second for coherence alone.
    method
        ``lda``, ``plsa`` or ``lsa``.
    topics
        ``k``.
    seed
        Of the start.

    Raises
    ------
    ConfigError
        For another method.
    InputError
        If there are fewer terms or documents than topics.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    # LSA alone takes TF-IDF: the others are models of counts.
    counts, terms, vectoriser = count_terms(texts, tfidf=method == "lsa")
    if topics < 1 or min(counts.shape) <= topics:
        raise InputError(f"{counts.shape[0]} documents with {counts.shape[1]} terms hold no {topics} topics")
    from sklearn.decomposition import NMF, LatentDirichletAllocation, TruncatedSVD

    model: Any
    if method == "lda":
        model = LatentDirichletAllocation(
            # All documents at once: the online method depends on their order.
            topics,
            learning_method="batch",
            max_iter=30,
            random_state=seed,
            n_jobs=1,
        )
    elif method == "plsa":
        model = NMF(
            topics, beta_loss="kullback-leibler", solver="mu", init="nndsvda", max_iter=500, random_state=seed
        )
    else:
        model = TruncatedSVD(topics, algorithm="arpack", random_state=seed)
    documents = model.fit_transform(counts)
    weights = np.asarray(model.components_, np.float64)
    if method == "lsa":
        # The sign of an axis is arbitrary: the side of the greater weight is made positive.
        sign = np.where(np.abs(weights.max(1)) >= np.abs(weights.min(1)), 1.0, -1.0)
        weights, documents = weights * sign[:, None], documents * sign
    else:
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
    present = (vectoriser.transform(held_out) > 0).astype(np.float64)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :10]
    coherence = np.array([npmi_coherence(present, rows) for rows in order])
    return Topics(terms, weights, np.asarray(documents, np.float64), coherence)


def npmi_coherence(present: Any, rows: Sequence[int] | NDArray[np.int64]) -> float:
    """Mean normalised pointwise mutual information of pairs of terms over documents, in [-1, 1].

    A pair that never meets counts -1; a term that no document holds is left out.

    Parameters
    ----------
    present
        ``(n, v)`` 1 where a document holds a term.
    rows
        Terms of a topic.

    Examples
    --------
    >>> table = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]], float)
    >>> npmi_coherence(table, [0, 1]), npmi_coherence(table, [0, 2])
    (1.0, -1.0)
    """
    part = present[:, np.asarray(rows)]
    dense = np.asarray(part.todense() if hasattr(part, "todense") else part, float)
    count = len(dense)
    both = dense.T @ dense / count
    single = np.diag(both)
    values = []
    for i in range(len(single)):
        for j in range(i):
            if not single[i] or not single[j]:
                continue
            joint = both[i, j]
            if joint == 0:
                values.append(-1.0)
            elif joint == 1:
                values.append(1.0)
            else:
                values.append(float(np.log(joint / (single[i] * single[j])) / -np.log(joint)))
    return float(np.mean(values)) if values else float("nan")


def word_vectors(
    texts: Sequence[str], *, width: int = 100, epochs: int = 10, least: int = 3, seed: int = 0
) -> Any:
    """Word2Vec skip-gram vectors (gensim), by sentence; one worker, as several do not repeat.

    Parameters
    ----------
    texts
        Documents.
    width, epochs
        Of the vectors, of the training.
    least
        Fewest times that a term must stand.
    seed
        Of the start.

    Returns
    -------
    gensim's ``KeyedVectors``.

    Raises
    ------
    ConfigError
        If the extra ``mining`` is not installed.
    InputError
        If no term stands often enough.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ConfigError(f"Word2Vec needs gensim: {advice('mining')}") from error
    from biolm.io.text.words import split_sentences

    sentences = [_analyser(text[a:b]) for text in texts for a, b in split_sentences(text)]
    counts: dict[str, int] = {}
    for sentence in sentences:
        for term in sentence:
            counts[term] = counts.get(term, 0) + 1
    if not any(count >= least for count in counts.values()):
        raise InputError(f"no term stands at least {least} times; give more documents")
    model = Word2Vec(sentences, vector_size=width, epochs=epochs, min_count=least, sg=1, workers=1, seed=seed)
    return model.wv
