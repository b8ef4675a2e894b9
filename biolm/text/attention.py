"""Attention maps of one text: any layer and head as an array, by piece or by word, drawn or as a page.

Dimensions: ``l`` layers · ``h`` heads · ``s`` pieces (special ones too) or words.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.core import Transformer
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import replacing
from biolm.io.text.words import split_words
from biolm.models.families.hf import from_hf
from biolm.text.pieces import PieceTokenizer, first_pieces, load_pieces
from biolm.text.windows import packed

__all__ = ["TextAttention", "attention_of_text", "draw_map", "load_reader", "write_page"]


@dataclass(frozen=True, slots=True)
class TextAttention:
    """Attention of one text.

    Parameters
    ----------
    weights
        ``(l, h, s, s)``: rows are queries and sum to 1, columns are keys.
    labels
        ``s`` pieces or words.
    """

    weights: NDArray[np.float32]
    labels: tuple[str, ...]

    def map(self, layer: int, head: int | None = None) -> NDArray[np.float32]:
        """Map ``(s, s)`` of a layer and a head, both counted from 0 (-1 the last); the heads' mean for None.

        Parameters
        ----------
        layer
            From 0; -1 for the last.
        head
            From 0; -1 for the last; None for the mean of all.

        Raises
        ------
        ConfigError
            If there is no such layer or head.
        """
        layers, heads = self.weights.shape[:2]
        if not -layers <= layer < layers:
            raise ConfigError(f"layer must lie in 0..{layers - 1}, not {layer}")
        if head is None:
            return np.asarray(self.weights[layer].mean(0))
        if not -heads <= head < heads:
            raise ConfigError(f"head must lie in 0..{heads - 1}, not {head}")
        return np.asarray(self.weights[layer, head])


def load_reader(folder: Path) -> tuple[Transformer, PieceTokenizer]:
    """The core and the tokenizer of a folder."""
    # Attention is the encoder's: heads of a fine-tuned folder have no part in it.
    ignored = [f"{name}.{part}" for name in ("classifier", "qa_outputs") for part in ("weight", "bias")]
    return from_hf(folder, ignore=ignored), load_pieces(folder)


def attention_of_text(
    core: Transformer, tokenizer: PieceTokenizer, text: str, *, words: bool = False
) -> TextAttention:
    """All attention maps of a text that fits into one window.

    Parameters
    ----------
    core, tokenizer
        The model and its tokenizer.
    text
        What is read.
    words
        Merge pieces to words: keys are summed and queries averaged, so that rows still sum to 1. Special
        tokens keep places of their own, so that what they draw is seen.

    Raises
    ------
    InputError
        If the text is empty or longer than a window: a map of a cut text would mislead.
    """
    pieces = tokenizer(text)
    if not len(pieces):
        raise InputError("the text has no pieces; give one with letters")
    # A map over windows would be no map of the model: nothing attends from one window to the next.
    if len(pieces) > tokenizer.room:
        raise InputError(
            f"the text has {len(pieces)} pieces, the model reads {tokenizer.room} at once; give a shorter one"
        )
    ids = tokenizer.framed(pieces.ids)
    batch, _ = packed([ids])
    layers: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        core(
            batch,
            logits=False,
            # One layer at a time leaves the device, so that a long text needs no room for all maps there.
            attentions=lambda maps: layers.append(maps[0].float().cpu().numpy()),
        )
    weights = np.stack(layers)
    labels = [tokenizer.token(number) for number in ids.tolist()]
    if words:
        weights, labels = _by_word(weights, text, pieces.spans, tokenizer, labels)
    return TextAttention(weights, tuple(labels))


def _by_word(
    weights: NDArray[np.float32],
    text: str,
    spans: NDArray[np.int64],
    tokenizer: PieceTokenizer,
    labels: list[str],
) -> tuple[NDArray[np.float32], list[str]]:
    from biolm.text.pieces import Pieces

    words = list(split_words(text))
    firsts = first_pieces(Pieces(np.zeros(len(spans), np.int64), spans), words)
    kept = [(int(row), word) for row, word in zip(firsts, words, strict=True) if row >= 0]
    before, behind = len(tokenizer.prefix), len(tokenizer.suffix)
    group = np.zeros(len(labels), np.int64)
    starts = [row for row, _ in kept]
    # A piece belongs to the last word that began before it, punctuation behind a word with it.
    inner = np.searchsorted(starts, np.arange(len(spans)), side="right") - 1
    group[:before] = np.arange(before)
    group[before : before + len(spans)] = np.maximum(inner, 0) + before
    count = before + len(kept)
    group[before + len(spans) :] = np.arange(behind) + count
    member = (group[:, None] == np.arange(count + behind)).astype(np.float32)
    # Attention to a word adds up over its pieces; from a word it is their mean, so that rows still sum to 1.
    summed = weights @ member
    merged = np.einsum("pw,lhpk->lhwk", member / member.sum(0), summed)
    names = [*labels[:before], *(text[a:b] for _, (a, b) in kept), *labels[len(labels) - behind :]]
    return merged, names


def draw_map(
    attention: TextAttention, path: Path, layer: int, head: int | None = None, *, overwrite: bool = False
) -> None:
    """Draw one labelled heat map; queries are rows, keys columns.

    Parameters
    ----------
    attention
        The maps.
    path
        ``.png``, ``.svg`` or ``.pdf``.
    layer, head
        As of :meth:`TextAttention.map`.
    overwrite
        Replace an existing picture.
    """
    from matplotlib.figure import Figure

    values = attention.map(layer, head)
    size = max(3.0, 0.28 * len(attention.labels) + 1.5)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    # From 0, or a head that attends evenly would look as sharp as one that picks a word.
    image = axes.imshow(values, cmap="viridis", vmin=0)
    places = range(len(attention.labels))
    axes.set_xticks(places, attention.labels, rotation=90, fontsize=8)
    axes.set_yticks(places, attention.labels, fontsize=8)
    axes.set_xlabel("attended to (key)")
    axes.set_ylabel("attending (query)")
    named = "mean of heads" if head is None else f"head {head}"
    axes.set_title(f"layer {layer}, {named}", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.7, label="attention")
    with replacing(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=150)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Attention</title><style>
body{font-family:sans-serif;margin:1.5em;color:#222;background:#fff}
#text span{padding:2px 3px;margin:1px;border-radius:3px;cursor:pointer;display:inline-block}
#grid{display:grid;gap:4px;margin-top:1em;overflow-x:auto}
canvas{width:100%;box-sizing:border-box;
image-rendering:pixelated;border:1px solid #ccc;cursor:pointer}canvas.on{border-color:#c30}
label{font-size:12px}</style></head><body>
<h1>Attention</h1><p>Choose a head below, then a word: its row is shown, darker for more attention.</p>
<p id="name"></p><p id="text"></p><div id="grid"></div><script>
const labels=LABELS,maps=MAPS;let at=[maps.length-1,0],word=WORD;
const text=document.getElementById("text"),grid=document.getElementById("grid");
function show(){const row=maps[at[0]][at[1]][word],most=Math.max(...row);text.replaceChildren();
labels.forEach((label,i)=>{const s=document.createElement("span");s.textContent=label;
s.style.background=`rgba(200,60,20,${0.85*row[i]/most})`;if(i===word)s.style.outline="2px solid #333";
s.title=row[i].toFixed(3);s.onclick=()=>{word=i;show()};text.append(s)});
document.getElementById("name").textContent=`layer ${at[0]}, head ${at[1]}, from "${labels[word]}"`;
document.querySelectorAll("canvas").forEach(c=>c.classList.toggle("on",c.dataset.at===at.join()))}
grid.style.gridTemplateColumns=`repeat(${maps[0].length},minmax(40px,1fr))`;
maps.forEach((layer,l)=>layer.forEach((map,h)=>{const c=document.createElement("canvas");
c.width=c.height=labels.length;c.dataset.at=`${l},${h}`;c.title=`layer ${l}, head ${h}`;
const g=c.getContext("2d");map.forEach((row,i)=>row.forEach((v,j)=>{
const k=Math.round(255*(1-Math.sqrt(v)));g.fillStyle=`rgb(${k},${k},255)`;
g.fillRect(j,i,1,1)}));c.onclick=()=>{at=[l,h];show()};grid.append(c)}));show();
</script></body></html>
"""


def write_page(attention: TextAttention, path: Path, *, overwrite: bool = False) -> None:
    """Write one HTML file with the maps of all heads; it loads nothing from elsewhere.

    Parameters
    ----------
    attention
        The maps.
    path
        ``.html``.
    overwrite
        Replace an existing page.
    """
    # "<" is escaped: a text with "</script>" would end the page's own script.
    labels = json.dumps([html.unescape(label) for label in attention.labels]).replace("<", "\\u003c")
    maps = json.dumps(np.round(attention.weights.astype(np.float64), 4).tolist())
    # The page opens at the longest piece: a content word, as a rule, and no special token.
    longest = int(np.argmax([len(label) for label in attention.labels]))
    page = _PAGE.replace("LABELS", labels, 1).replace("MAPS", maps, 1).replace("WORD", str(longest), 1)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")
