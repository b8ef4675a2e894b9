"""Chemical-disease relations of BC5CDR: two controls and the linear model, on gold and on predicted mentions.

Predicted mentions are names of the training documents found in the text, with the identifiers of those names.

``python benchmarks/text_relations.py SHARED/data/text``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from biolm.io.text import read_documents
from biolm.text.link.linker import trained_names
from biolm.text.link.names import NameTagger
from biolm.text.link.relations import RelationModel, all_pairs, same_sentence
from biolm.text.scores.bc5cdr import score_bc5cdr
from biolm.text.scores.bootstrap import compare_f1, f1_interval

KINDS = ("Chemical", "Disease")


def main() -> None:
    """Print a line a row."""
    data = Path(sys.argv[1])
    train = list(read_documents(data / "bc5cdr_relations" / "CDR_TrainingSet.PubTator.txt.gz"))
    test = list(read_documents(data / "bc5cdr_test" / "CDR_TestSet.PubTator.txt"))
    begin = time.perf_counter()
    model = RelationModel().fit(train)
    rows = {
        "all pairs": all_pairs(test, KINDS),
        "same sentence": same_sentence(test, KINDS),
        "linear": model.predict(test),
    }
    print(f"trained in {time.perf_counter() - begin:.0f} s, threshold {model.threshold:.3f}")
    counts = {}
    for name, found in rows.items():
        scores = score_bc5cdr(test, found)
        counts[name] = scores.documents["relation"]
        total = scores.relation
        print(f"{name}: P {total.precision:.3f} R {total.recall:.3f} F1 {f1_interval(counts[name])}")
    terms = [(kind, i, n) for kind in KINDS for i, n in trained_names(train, [kind])]
    tagger = NameTagger(terms)
    found = [tagger(document) for document in test]
    scores = score_bc5cdr(test, found)
    for name in ("mention", "id"):
        total = getattr(scores, name)
        print(f"dictionary {name}: P {total.precision:.3f} R {total.recall:.3f} F1 {total.f1:.3f}")
    scores = score_bc5cdr(test, model.predict(found))
    total, per_document = scores.relation, scores.documents["relation"]
    print(
        f"linear on those mentions: P {total.precision:.3f} R {total.recall:.3f} F1 "
        f"{f1_interval(per_document)}"
    )
    print("linear against same sentence:", *compare_f1(counts["linear"], counts["same sentence"]))


if __name__ == "__main__":
    main()
