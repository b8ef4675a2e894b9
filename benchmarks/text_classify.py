"""PubMedQA on its official split, roles of abstract sections, MeSH headings: words beside MiniLM's vectors.

``python benchmarks/text_classify.py SHARED/data/text [pubmedqa|sections|mesh]``
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from biolm.batch import Batch, Tokens, pack
from biolm.io.text.questions import read_pubmedqa
from biolm.models.lstm import LstmConfig, fit_lstm
from biolm.text.embed import embed_texts, load_encoder
from biolm.text.models import model_folder
from biolm.text.qa.yesno import answers_of, inputs_of, score_yesno, tfidf_answers, vector_answers


def pubmedqa(data: Path) -> None:
    """Accuracy and macro-F1 beside the majority."""
    folder = data / "pubmedqa"
    train, test = read_pubmedqa(folder / "ori_pqal.json", folder / "test_ground_truth.json")
    gold, known = answers_of(test), answers_of(train)
    for parts in ("question", "context", "both"):
        print(
            f"TF-IDF, {parts}: {score_yesno(gold, tfidf_answers(train, test, parts=parts), known)}",
            flush=True,
        )
    encoder = load_encoder(model_folder("minilm"))
    for parts in ("question", "both"):
        begin = time.process_time()
        vectors = [embed_texts(encoder, inputs_of(side, parts), device="cpu") for side in (train, test)]
        found = vector_answers(vectors[0], known, vectors[1])
        seconds = time.process_time() - begin
        print(f"MiniLM vectors, {parts}: {score_yesno(gold, found, known)} ({seconds:.0f} s CPU)", flush=True)


def sections(data: Path) -> None:
    """Role of each section of 300 abstracts, five folds by document."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    lines = (data / "medline" / "structured_300_dev.jsonl").read_text().splitlines()
    rows = [
        (number, part["text"], f"place{place} fromend{len(parts) - place}", part["nlm_category"])
        for number, line in enumerate(lines)
        for parts in [json.loads(line)["sections"]]
        for place, part in enumerate(parts)
        if part["nlm_category"] not in ("", "UNASSIGNED")
    ]
    groups, texts, places, roles = (list(column) for column in zip(*rows, strict=True))
    folds = GroupKFold(5)
    encoder = load_encoder(model_folder("minilm"))
    vectors = embed_texts(encoder, texts, device="cpu")
    majority = Counter(roles).most_common(1)[0][1] / len(roles)
    print(f"sections {len(texts)}, majority {majority:.3f}")
    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )
    dense = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    placed = [f"{place} {text}" for place, text in zip(places, texts, strict=True)]
    found = lstm_roles(texts, roles, list(folds.split(texts, roles, groups)))
    print(f"LSTM over words: accuracy {np.mean(found == np.array(roles)):.3f}", flush=True)
    for name, model, table in (
        ("TF-IDF", words, texts),
        ("TF-IDF and place in the abstract", words, placed),
        ("MiniLM vectors", dense, vectors),
    ):
        found = cross_val_predict(model, table, roles, groups=groups, cv=folds)
        print(f"{name}: accuracy {np.mean(found == np.array(roles)):.3f}", flush=True)


def lstm_roles(
    texts: list[str], roles: list[str], folds: list[tuple[np.ndarray, np.ndarray]], least: int = 2
) -> np.ndarray:
    """Out-of-fold calls of a bidirectional LSTM over words that occur ``least`` times in training texts."""
    words = [re.findall(r"[a-z]+|[0-9]+|[^\w\s]", text.lower()) or ["."] for text in texts]
    names, codes = np.unique(roles, return_inverse=True)
    found = np.empty(len(texts), np.int64)
    for train, test in folds:
        counts = Counter(word for row in train for word in words[row])
        kept = {word: number + 1 for number, (word, n) in enumerate(counts.most_common()) if n >= least}

        def tokens(rows: np.ndarray, kept: dict[str, int] = kept) -> Tokens:
            ids = [[kept.get(word, 0) for word in words[row]] for row in rows]
            offsets = np.cumsum([0, *map(len, ids)])
            return Tokens(ids=np.concatenate(ids).astype(np.int32), offsets=offsets, index=rows)

        config = LstmConfig(vocab_size=len(kept) + 1, classes=len(names), epochs=6)
        model = fit_lstm(tokens(train), codes[train], config)
        held = tokens(test)
        with torch.inference_mode():
            for rows in pack(held, config.batch_tokens):
                found[test[rows]] = model(Batch.from_tokens(held, rows)).argmax(1).numpy()
    return names[found]


def mesh(data: Path) -> None:
    """The 50 most frequent headings of 2,000 citations, five folds."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import KFold
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler

    from biolm.io.text import read_documents

    documents = list(read_documents(data / "medline" / "medline_2000.jsonl"))
    headings = [{each["descriptor"] for each in d.metadata.get("mesh", [])} for d in documents]
    top = [name for name, _ in Counter(h for each in headings for h in each).most_common(50)]
    target = np.array([[name in each for name in top] for each in headings], int)
    texts = np.array([d.text for d in documents], object)
    vectors = embed_texts(load_encoder(model_folder("minilm")), texts.tolist(), device="cpu")
    found = {name: np.zeros(target.shape) for name in ("TF-IDF", "MiniLM vectors")}
    for train, test in KFold(5, shuffle=True, random_state=0).split(texts):
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
        scale = StandardScaler().fit(vectors[train])
        tables = {
            "TF-IDF": (words.fit_transform(texts[train]), words.transform(texts[test]), 10),
            "MiniLM vectors": (scale.transform(vectors[train]), scale.transform(vectors[test]), 0.01),
        }
        for name, (known, new, c) in tables.items():
            model = OneVsRestClassifier(LogisticRegression(C=c, class_weight="balanced", max_iter=300))
            found[name][test] = model.fit(known, target[train]).predict(new)
    for name, table in found.items():
        print(f"MeSH top 50, {name}: micro-F1 {f1_score(target, table, average='micro'):.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:] or ("pubmedqa", "sections", "mesh"):
        {"pubmedqa": pubmedqa, "sections": sections, "mesh": mesh}[name](Path(sys.argv[1]))
