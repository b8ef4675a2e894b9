"""Abbreviations, dictionaries, identifiers and relations."""

from __future__ import annotations

import pytest

from biolm.errors import ConfigError, InputError
from biolm.io.text import Document, Mention, Relation, read_documents
from biolm.io.text.terms import read_terms
from biolm.text.link.abbreviations import find_abbreviations, long_forms
from biolm.text.link.linker import Linker, LinkReport, folded, gene_names, trained_names
from biolm.text.link.names import NameTagger
from biolm.text.link.relations import RelationModel, all_pairs, pairs_of, same_sentence
from biolm.text.scores.bc5cdr import score_bc5cdr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("multiple sclerosis (MS) in", {"MS": "multiple sclerosis"}),
        ("heat shock protein 70 (HSP70)", {"HSP70": "heat shock protein 70"}),
        ("acquired immunodeficiency syndrome (AIDS)", {"AIDS": "acquired immunodeficiency syndrome"}),
        ("the drug (see above) was", {}),
        ("levels (p < 0.05) rose", {}),
        ("ALS (amyotrophic lateral sclerosis) is", {"ALS": "amyotrophic lateral sclerosis"}),
        ("We saw it. Then cells (XYZ)", {}),
    ],
)
def test_abbreviations(text, wanted):
    assert long_forms(text) == wanted
    for each in find_abbreviations(text):
        assert text[slice(*each.short_span)] == each.short
        assert text[slice(*each.long_span)] == each.long


def mention(text, name, kind="Disease", ids=""):
    start = text.index(name)
    return Mention(((start, start + len(name)),), kind, ids)


def test_abbreviations_are_expanded_before_they_are_looked_up():
    text = "Multiple sclerosis (MS) is one; mass spectrometry another. MS again."
    linker = Linker([("D1", "multiple sclerosis"), ("D2", "MS")])
    start = text.rindex("MS")
    document = Document("1", text, mentions=(Mention(((start, start + 2),), "Disease"),))
    report = LinkReport()
    assert linker.link(document, report).mentions[0].ids == "D1"
    assert report.expanded == 1
    bare = Document("2", "MS was used.", mentions=(Mention(((0, 2),), "Disease"),))
    assert linker.link(bare).mentions[0].ids == "D2"


def test_ambiguous_names_are_kept_as_candidates():
    linker = Linker([("1", "CAP"), ("2", "CAP"), ("3", "cap protein")])
    report = LinkReport()
    [found] = linker.link(Document("1", "CAP rose", mentions=(Mention(((0, 3),), "Gene"),)), report).mentions
    assert (found.ids, found.note) == ("1|2", "ambiguous")
    assert "1 ambiguous, kept as candidates" in str(report)


def test_genes_by_symbol_and_alias():
    linker = Linker(gene_names())
    assert [each.id for each in linker.candidates("BRCA1")] == ["ENSG00000012048"]
    assert [each.id for each in linker.candidates("p53")][:1] == ["ENSG00000141510"]
    assert linker.candidates("no such gene") == []


def test_nearest_names_by_an_encoder(minilm):
    from biolm.text.embed import load_encoder

    terms = [("D1", "breast cancer"), ("D2", "kidney failure"), ("D3", "diabetes")]
    linker = Linker(terms, load_encoder(minilm), least=0.6)
    [found] = linker.candidates("renal failure")[:1]
    assert (found.id, found.how) == ("D2", "similar")
    assert linker.candidates("lorem ipsum dolor") == []
    with pytest.raises(ConfigError, match="least cosine"):
        Linker(terms, least=0)


def test_names_are_folded():
    assert folded("Renal Failure, Acute") == folded("acute renal failures")
    assert folded("IL-1β") == folded("il 1 beta")


def test_dictionaries(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text("id\tname\nD1\tbreast cancer|carcinoma of breast\nD2\tulcer\tulcus\n")
    assert len(list(read_terms(table))) == 4
    obo = tmp_path / "a.obo"
    obo.write_text(
        'format-version: 1.2\n\n[Term]\nid: X:1\nname: one\nsynonym: "uno" EXACT []\n\n'
        "[Term]\nid: X:2\nname: old\nis_obsolete: true\n\n[Typedef]\nid: part_of\nname: part of\n"
    )
    assert list(read_terms(obo)) == [("X:1", "one"), ("X:1", "uno")]
    table.write_text("D1\n")
    with pytest.raises(InputError, match="line 1 has one column"):
        list(read_terms(table))
    table.write_text("")
    with pytest.raises(InputError, match="holds no terms"):
        list(read_terms(table))
    with pytest.raises(InputError, match="holds no names"):
        Linker([])


def related(number, positive):
    drug, ill = f"drug{number}", f"pain{number}"
    verb = "induced" if positive else "treated"
    text = f"{drug} {verb} {ill} in rats. Others were well."
    mentions = (mention(text, drug, "Chemical", f"C{number}"), mention(text, ill, "Disease", f"D{number}"))
    relations = (
        (Relation("CID", (("Chemical", f"C{number}"), ("Disease", f"D{number}"))),) if positive else ()
    )
    return Document(str(number), text, mentions=mentions, relations=relations)


def test_relations_are_learned_from_words_between():
    train = [related(number, number % 2 == 0) for number in range(40)]
    test = [related(number, number % 2 == 0) for number in range(50, 60)]
    model = RelationModel(strength=10.0).fit(train)
    assert score_bc5cdr(test, model.predict(test)).relation.f1 == 1.0
    kinds = ("Chemical", "Disease")
    assert score_bc5cdr(test, all_pairs(test, kinds)).relation.precision == 0.5
    assert sum(len(d.relations) for d in same_sentence(test, kinds)) == 10
    with pytest.raises(ConfigError, match="not been trained"):
        RelationModel().predict(test)
    with pytest.raises(InputError, match="hold 0 relations"):
        RelationModel().fit(test[1:2])


def test_controls_of_bc5cdr(data_text):
    test = list(read_documents(data_text / "bc5cdr_test/CDR_TestSet.PubTator.txt"))
    kinds = ("Chemical", "Disease")
    every = score_bc5cdr(test, all_pairs(test, kinds)).relation
    near = score_bc5cdr(test, same_sentence(test, kinds)).relation
    assert every.recall == 1.0
    assert every.f1 == pytest.approx(0.329, abs=0.002)
    assert near.f1 == pytest.approx(0.430, abs=0.005)
    assert len(pairs_of(test, kinds)) == every.tp + every.fp


def test_dictionary_tagging_and_linking_of_a_corpus(data_text):
    train = list(read_documents(data_text / "bc5cdr_relations/CDR_TrainingSet.PubTator.txt.gz"))[:200]
    test = list(read_documents(data_text / "bc5cdr_test/CDR_TestSet.PubTator.txt"))[:40]
    terms = [(kind, i, n) for kind in ("Chemical", "Disease") for i, n in trained_names(train, [kind])]
    found = [NameTagger(terms)(document) for document in test]
    scores = score_bc5cdr(test, found)
    assert scores.mention.precision > 0.6
    assert scores.mention.recall > 0.3
    linked = [Linker([(i, n) for _, i, n in terms]).link(document) for document in test]
    assert score_bc5cdr(test, linked).id.precision > 0.7
