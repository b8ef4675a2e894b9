"""UCE (Rosen et al. 2023): genes drawn by expression, as vectors of their proteins, in genome order.

A folder holds the weights (``model.torch``, ``4layer_model.torch`` or ``33l_*.torch``),
``species_chrom.csv``, ``species_offsets.pkl`` and ``protein_embeddings/*SPECIES*_ESM2.pt``. A cell is the
cls token, then for each chromosome in a random order its token, its drawn genes by start, and a closing
token. Token vectors are scaled to length 1 before they enter. A cell's vector is the cls state after the
decoder, scaled to length 1.

In torch 2 and later the published mask adds 1 to the scores of padding instead of masking it, so a vector
depends on the longest sentence among the 25 cells of its batch. ``padding="masked"`` leaves padding out.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``h`` heads · ``e`` width of a head · ``d`` width.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.adapters.cells.draws import cell_seeds, uniform
from biolm.adapters.cells.rows import prepare
from biolm.batch import Batch, Tokens
from biolm.core.checkpoint import read_torch
from biolm.core.maps import Receive
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.io.safe_pickle import read_pickle
from biolm.models.model import EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows, choose
from biolm.models.systems.cell_network import CellNetwork
from biolm.models.systems.uce_network import UceNetwork, read_network
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = ["Uce", "load", "load_tokenizer", "padded", "recognises"]

_WEIGHTS = re.compile(r"model\.torch|4layer_model\.torch|33l_.*\.torch")
_CHROMOSOMES, _OFFSETS, _PROTEINS = "species_chrom.csv", "species_offsets.pkl", "protein_embeddings"
_SCIENTIFIC = {"human": "Homo_sapiens", "mouse": "Mus_musculus"}
_CELLS = 25  # of a batch in the published code
_CLS, _RIGHT = 3, 2
_DEFAULTS = {"CHROM_TOKEN_OFFSET": 143574, "sample_size": 1024, "pad_length": 1536}


@dataclass(eq=False, kw_only=True)
class Sentences:
    """Draws genes of a cell in proportion to ``log(1 + count)`` and writes them by chromosome and start.

    Parameters
    ----------
    token_ids, chromosome, start
        ``(m,)`` protein, chromosome and position of each gene of the vocabulary.
    offset
        Token of the first chromosome.
    draws
        Genes drawn for each cell, with replacement.
    published
        Draw as numpy's global generator does, one cell after the other; else by a hash of seed and row, so
        that a cell's sentence depends on no other cell.
    """

    token_ids: NDArray[np.int32]
    chromosome: NDArray[np.int64]
    start: NDArray[np.int64]
    offset: int
    draws: int
    published: bool = False
    _state: np.random.RandomState | None = field(default=None, repr=False)
    _next: int = 0

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed sentences of a block; a cell without counts has none."""
        rows = prepare(block, match)
        genes = match.target[rows.indices]
        panel = np.flatnonzero(match.target >= 0)
        sentences: list[list[int]] = []
        for cell, number in enumerate(block.numbers.tolist()):
            span = slice(int(rows.indptr[cell]), int(rows.indptr[cell + 1]))
            own, counts = genes[span], rows.data[span]
            kept = (own >= 0) & (counts > 0)
            if not kept.any():
                sentences.append([])
            elif self.published:
                dense = np.zeros(len(match.target), np.float32)
                dense[rows.indices[span][kept]] = counts[kept]
                sentences.append(self._drawn_in_turn(number, dense[panel], match.target[panel], seed))
            else:
                sentences.append(self._drawn_by_hash(number, counts[kept], own[kept], seed))
        return Tokens.joined(sentences, block.numbers)

    def _drawn_by_hash(
        self, number: int, counts: NDArray[Any], genes: NDArray[np.int32], seed: int
    ) -> list[int]:
        low, high = cell_seeds(np.array([number]), seed, 0)
        pair = (low[0], high[0])
        # In the order of the vocabulary, so that the order of a file's columns draws nothing else.
        order = np.argsort(genes, kind="stable")
        genes, counts = genes[order], counts[order]
        heights = np.cumsum(np.log1p(counts.astype(np.float64)))
        at = uniform(pair, np.arange(self.draws, dtype=np.int32)) * heights[-1]
        drawn = genes[np.minimum(np.searchsorted(heights, at, side="right"), len(genes) - 1)]
        present = np.unique(self.chromosome[drawn])
        turns = np.argsort(uniform(pair, (present + self.draws).astype(np.int32)))
        return self._written(drawn, present[turns])

    def _drawn_in_turn(
        self, number: int, counts: NDArray[np.float32], genes: NDArray[np.int32], seed: int
    ) -> list[int]:
        if number == 0:
            self._state, self._next = np.random.RandomState(seed), 0
        if self._state is None or number != self._next:
            raise ConfigError(
                "UCE's published draws go through the cells of a file in order from the first, so they take "
                "no shard, resume, workers or cells without counts; choose draws=hash"
            )
        self._next = number + 1
        # The published order of sums, in float32: other sums draw other genes.
        weights = torch.log1p(torch.from_numpy(counts))[None]
        parts = (weights / torch.sum(weights))[0].numpy()
        parts = parts / sum(parts)
        drawn = genes[self._state.choice(np.arange(len(genes)), size=self.draws, p=parts, replace=True)]
        drawn = drawn[np.argsort(self.chromosome[drawn])]
        present = np.unique(self.chromosome[drawn])
        self._state.shuffle(present)
        return self._written(drawn, present)

    def _written(self, drawn: NDArray[np.int32], chromosomes: NDArray[np.int64]) -> list[int]:
        words = [_CLS]
        for chromosome in chromosomes.tolist():
            inside = drawn[self.chromosome[drawn] == chromosome]
            inside = inside[np.argsort(self.start[inside], kind="stable")]
            words += [self.offset + chromosome, *self.token_ids[inside].tolist(), _RIGHT]
        return words


class Uce(CellNetwork):
    """UCE; where padding is read as published, a vector depends on the cells of its batch of 25."""

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block of cells."""
        tokens = self.tokenize(block, match, seed=options.seed)
        if self.rules["padding"] == "published":
            tokens = padded(tokens)
        return self.embed_tokens(tokens, options)

    def vectors(self, batch: Batch, how: str) -> Tensor:  # noqa: ARG002  # one way to pool
        """Vectors ``(b, d)``."""
        vectors: Tensor = self.network(batch)
        return vectors

    def gene_inputs(self, token_ids: Tensor) -> Tensor:
        """Vectors ``(m, d)`` made of those of proteins."""
        vectors: Tensor = self.network.token_vectors(token_ids)  # type: ignore[operator]  # UceNetwork
        return vectors

    def gene_states(self, batch: Batch, options: EmbedOptions) -> Tensor:
        """States ``(t, d)`` of the last layer."""
        self.plain(options)
        states: Tensor = self.network.states(batch)  # type: ignore[operator]  # UceNetwork
        return states

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Attention maps of each layer; of the cell's own tokens, where a batch holds no padding."""
        self.network.states(batch, maps=receive)  # type: ignore[operator]  # UceNetwork


def padded(tokens: Tokens, cells: int = _CELLS) -> Tokens:
    """Sentences filled up with padding to the longest of each run of rows, and 1 as the value of padding.

    Parameters
    ----------
    tokens
        Sentences of cells with their rows.
    cells
        Rows of a run.
    """
    lengths = tokens.lengths
    _, run = np.unique(tokens.index // cells, return_inverse=True)
    longest = np.zeros(run.max(initial=-1) + 1, np.int64)
    np.maximum.at(longest, run, lengths)
    full = np.where(lengths > 0, longest[run], 0)
    offsets = np.concatenate([[0], np.cumsum(full)])
    place = np.arange(len(tokens.ids)) + np.repeat(offsets[:-1] - tokens.offsets[:-1], lengths)
    ids, values = np.zeros(offsets[-1], np.int32), np.ones(offsets[-1], np.float32)
    ids[place], values[place] = tokens.ids, 0
    return Tokens(ids=ids, offsets=offsets, index=tokens.index, values=values)


def _weights(folder: Path) -> Path | None:
    paths = sorted(path for path in folder.glob("*.torch") if _WEIGHTS.fullmatch(path.name))
    return paths[0] if paths else None


def recognises(folder: Path) -> bool:
    """Whether a folder holds weights of UCE."""
    return _weights(folder) is not None


def _settings(folder: Path) -> dict[str, Any]:
    return _DEFAULTS | (read_json(folder / "config.json") if (folder / "config.json").is_file() else {})


def load_tokenizer(folder: Path, *, species: str = "human", draws: str = "hash") -> CellPreprocessor:
    """Genes and sentences of a folder; the weights are not touched.

    Parameters
    ----------
    folder
        Of the checkpoint.
    species, draws
        As of :func:`load`.

    Raises
    ------
    CheckpointError, ConfigError
        If a side file is missing or damaged, or lacks the species.
    """
    choose("draws", draws, ("hash", "published"))
    for name in (_CHROMOSOMES, _OFFSETS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}, which UCE needs; its evaluate.py fetches it")
    proteins = _proteins(folder, species)
    offsets = read_pickle(folder / _OFFSETS)
    places = _chromosomes(folder / _CHROMOSOMES, species)
    if not isinstance(offsets, dict) or species not in offsets or not places:
        raise ConfigError(f"UCE's files know no species {species!r}; choose one of {_OFFSETS}")
    names = list(dict.fromkeys(str(name).upper() for name in read_torch(proteins, mapped=True)))
    known = [(row + int(offsets[species]), name) for row, name in enumerate(names) if name in places]
    settings = _settings(folder)
    tokenizer = Sentences(
        token_ids=np.array([row for row, _ in known], np.int32),
        chromosome=np.array([places[name][0] for _, name in known], np.int64),
        start=np.array([places[name][1] for _, name in known], np.int64),
        offset=int(settings["CHROM_TOKEN_OFFSET"]),
        draws=int(settings["sample_size"]),
        published=draws == "published",
    )
    return CellPreprocessor(
        name="uce",
        vocabulary=GeneVocabulary.of([name for _, name in known], kind="symbol"),
        tokenizer=tokenizer,
        files=(folder / _CHROMOSOMES, folder / _OFFSETS),
        published=PublishedRule(system="UCE", column="index", rewrite=str.upper),
    )


def _proteins(folder: Path, species: str) -> Path:
    """The vectors of a species' proteins."""
    pattern = f"{_SCIENTIFIC.get(species, species)}*ESM2.pt"
    paths = sorted((folder / _PROTEINS).glob(pattern))
    if not paths:
        raise CheckpointError(
            f"{folder} lacks {_PROTEINS}/{pattern}, which UCE needs; its evaluate.py fetches it"
        )
    return paths[0]


def _check_proteins(proteins: Path, sentences: Any, network: UceNetwork, path: Path) -> None:
    """Refuse vectors of other proteins than those that the weights hold."""
    width = next(iter(read_torch(proteins, mapped=True).values())).shape[-1]
    rows, inner = network.pe_embedding.weight.shape
    if width != inner:
        raise CheckpointError(
            f"the vectors of {proteins.name} are {width} numbers wide but the model reads {inner}; take both "
            "from one release"
        )
    top = max(
        int(sentences.token_ids.max(initial=0)), sentences.offset + int(sentences.chromosome.max(initial=0))
    )
    check_rows(Path(_OFFSETS), top, path, rows)


def _chromosomes(path: Path, species: str) -> dict[str, tuple[int, int]]:
    """Chromosome, numbered over all species, and start of each gene of one species."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {name: i for i, name in enumerate(sorted({f"{r['species']}_{r['chromosome']}" for r in rows}))}
    places: dict[str, tuple[int, int]] = {}
    for r in rows:
        if r["species"] == species:
            place = numbers[f"{species}_{r['chromosome']}"], int(float(r["start"]))
            places.setdefault(r["gene_symbol"].upper(), place)
    return places


def load(folder: Path, *, species: str = "human", padding: str = "published", draws: str = "hash") -> Uce:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    species
        Whose proteins and chromosomes are read.
    padding
        ``published`` adds 1 to the scores of padding, ``masked`` leaves it out.
    draws
        Of genes: ``hash`` of seed and row, or ``published``, numpy's generator from the first cell on.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the species is unknown.
    """
    choose("padding", padding, ("published", "masked"))
    preprocessor, path = load_tokenizer(folder, species=species, draws=draws), _weights(folder)
    if path is None:
        raise CheckpointError(f"{folder} holds no weights of UCE, such as 4layer_model.torch")
    network = read_network(path, int(_settings(folder).get("config", {}).get("H", 20)))
    _check_proteins(_proteins(folder, species), preprocessor.tokenizer, network, path)
    rules = {"species": species, "padding": padding, "draws": draws}
    width = len(network.decoder[-1].get_parameter("bias"))
    model = Uce(preprocessor, network, width=width, pools=("cls_l2",), files=[path], rules=rules)
    if padding == "published":
        model.reads, model.block_rows = "group", _CELLS
    return model
