"""Text: read, tag, embed, ask and mine the literature with the models of the field.

Names load on first use; nothing here is imported by the core.

>>> import biolm
>>> biolm.text.normalise_ids("D003924")
'MESH:D003924'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "biolm.io.text": ("Document", "Mention", "Passage", "ReadOptions", "ReadReport", "Relation"),
    "biolm.io.text.formats": ("read_documents", "write_documents"),
    "biolm.io.text.document": ("normalise_ids", "split_ids"),
    "biolm.io.text.questions": ("Question", "read_bioasq", "read_pubmedqa", "read_squad"),
    "biolm.text.models": ("model_folder",),
    "biolm.text.pieces": ("load_pieces",),
    "biolm.text.windows": ("LengthReport",),
    "biolm.text.embed": ("embed_texts", "load_encoder", "nearest_texts"),
    "biolm.text.attention": ("attention_of_text", "draw_map", "load_reader", "write_page"),
    "biolm.text.ner.train": ("train_ner",),
    "biolm.text.ner.predict": ("predict",),
    "biolm.text.ner.tagger": ("load_tagger",),
    "biolm.text.qa.model": ("answer_questions", "load_answerer", "train_answerer"),
    "biolm.text.qa.choice": ("Choice", "build_prompt", "score_options", "vote"),
    "biolm.text.qa.yesno": ("score_yesno", "tfidf_answers", "vector_answers"),
    "biolm.text.link.abbreviations": ("find_abbreviations", "long_forms"),
    "biolm.text.link.linker": ("Linker", "gene_names", "trained_names"),
    "biolm.text.link.names": ("NameTagger",),
    "biolm.text.link.relations": ("RelationModel",),
    "biolm.text.chat.client": ("ChatClient", "ChatOptions"),
    "biolm.text.chat.local": ("load_writer", "write_text"),
    "biolm.text.gene_text": ("cell_sentences", "gene_vectors", "write_gene_vectors"),
    "biolm.text.mining.tokens": ("analyse", "terms_of"),
    "biolm.text.mining.topics": ("find_topics", "word_vectors"),
    "biolm.text.mining.network": ("co_mentions", "draw_cloud", "draw_network", "gene_symbols_in", "graph_of"),
    "biolm.text.scores.answers": ("bioasq_scores", "squad_scores"),
    "biolm.text.scores.bc5cdr": ("score_bc5cdr",),
    "biolm.text.scores.bootstrap": ("compare_f1", "f1_interval"),
    "biolm.text.scores.entities": ("entity_scores", "pair_documents"),
    "biolm.text.scores.overlap": ("bleu", "rouge"),
    "biolm.text.scores.perplexity": ("perplexity",),
    "biolm.text.scores.retrieval": ("retrieval_scores",),
    "biolm.text.pretrain": ("pretrain_text",),
    "biolm.text.settings": ("FitSettings", "PretrainSettings"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # one list of names, not two


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'biolm.text' has no attribute {name!r}")
    globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(_HOME_OF)
