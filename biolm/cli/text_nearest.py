"""``biolm text nearest``: the sentences or documents nearest to a question."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.common_options import Device, Encoder
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text nearest``."""

    query: Annotated[str, Option(help="Text to look for.")]
    k: Annotated[int, Option(help="Results.", min=1)] = 5
    documents: Annotated[bool, Option(help="Whole documents in place of sentences.")] = False
    model: Encoder = "minilm"
    device: Device = "auto"


def run(chosen: Arguments) -> None:
    """Print the sentences most similar to a text, with their documents and cosines."""
    from biolm.io.text.words import split_sentences
    from biolm.text.embed import embed_texts, load_encoder, nearest_texts
    from biolm.text.models import model_folder

    documents, _ = documents_of(chosen)
    encoder = load_encoder(model_folder(chosen.model))
    places = [
        (document, start, end)
        for document in documents
        for start, end in ([(0, len(document.text))] if chosen.documents else split_sentences(document.text))
    ]
    vectors = embed_texts(encoder, [d.text[a:b] for d, a, b in places], device=chosen.device)
    query = embed_texts(encoder, [chosen.query], device=chosen.device)
    rows, cosines = nearest_texts(query, vectors, k=chosen.k)
    for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True):
        document, start, end = places[row]
        typer.echo(f"{cosine:.3f}\t{document.name}\t{' '.join(document.text[start:end].split())[:300]}")
