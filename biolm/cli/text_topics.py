"""``biolm text topics``: what documents are about."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.common_options import Seed
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text topics``."""

    method: Annotated[str, Option(help="lda, plsa or lsa.")] = "lda"
    topics: Annotated[int, Option(help="Number of topics.", min=1)] = 10
    held_out: Annotated[float, Option(help="Fraction of documents for coherence.", min=0.01, max=0.9)] = 0.2
    cloud: Annotated[Path | None, Option(help="Draw the terms as a word cloud (.png).")] = None
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Print topics with their first terms and their coherence on documents held out."""
    import numpy as np

    from biolm.io.atomic import refuse_existing
    from biolm.text.mining.network import draw_cloud
    from biolm.text.mining.topics import count_terms, find_topics

    if chosen.cloud is not None:
        refuse_existing(chosen.cloud, overwrite=chosen.overwrite)
    documents, _ = documents_of(chosen)
    # Mixed, as files are often sorted by date or subject.
    order = np.random.default_rng(chosen.seed).permutation(len(documents))
    cut = round(len(documents) * (1 - chosen.held_out))
    texts = [documents[row].text for row in order]
    model = find_topics(
        texts[:cut], texts[cut:], method=chosen.method, topics=chosen.topics, seed=chosen.seed
    )
    for topic in range(len(model.weights)):
        typer.echo(f"{topic}\t{model.coherence[topic]:.3f}\t{', '.join(model.top(topic))}")
    typer.echo(
        f"mean coherence (NPMI, {len(texts) - cut} documents held out): {np.nanmean(model.coherence):.3f}"
    )
    if chosen.cloud is not None:
        weights, terms, _ = count_terms(texts, tfidf=True)
        sums = np.asarray(weights.sum(0)).ravel()
        draw_cloud(
            dict(zip(terms.tolist(), sums.tolist(), strict=True)), chosen.cloud, overwrite=chosen.overwrite
        )
