"""CellPLM (Wen et al. 2024): cells as tokens, which see the other cells of their group.

A folder holds ``NAME.config.json``, whose ``gene_list`` names the genes, and ``NAME.best.ckpt``. A cell
enters as ``log(1 + counts)`` times a table of genes; flow attention lets the cells of a group see each other,
so the user says which cells are a group: those of one value of a column (published: the batch), all, or so
many rows. A cell's vector is the mean of its latent Gaussian, which the published code takes for one cluster
drawn by chance; ``cluster="expected"`` weighs the means of all clusters instead. Its decoder imputes counts.

Dimensions: ``n`` cells of a group · ``g`` genes · ``d`` width · ``z`` latent width · ``k`` clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.adapters.cells.rows import prepare
from biolm.common_options import PRECISIONS
from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import check_size, hash_files, load_strict, read_torch
from biolm.core.norm import GROUP_NORM
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.cells import CellSource
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.models.families.keys import Key, KeyTable, dropped
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.precision import precise
from biolm.models.running import pick_device
from biolm.models.systems.cell_folders import choose
from biolm.models.systems.cellplm_network import COUNTS_OF_CELLS, CellPlmNetwork, Decoder, Latent
from biolm.models.systems.row_sums import RowSums
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["CellPlm", "Groups", "load", "read_network", "recognises"]

_CONFIG, _WEIGHTS = "*.config.json", "*.best.ckpt"
_WHOLE = 2**31  # rows of a block that holds the file
_LAYER, _OURS = "encoder.layers.{}", "layers.{}"
_KEYS = KeyTable(
    [
        Key("embedder.feat_enc.emb", "embeddings.token.weight"),
        Key("embedder.extra_linear.0.*", "embeddings.first.*"),
        Key("embedder.extra_linear.3.*", "embeddings.norm.*"),
        *(
            Key(f"{_LAYER}.self_attn.{name}_projection.*", f"{_OURS}.attention.{name}.*")
            for name in ("query", "key", "value", "out")
        ),
        Key(f"{_LAYER}._ff_block.0.*", f"{_OURS}.mlp.up.*"),
        Key(f"{_LAYER}._ff_block.3.*", f"{_OURS}.mlp.down.*"),
        Key(f"{_LAYER}.norm1.*", f"{_OURS}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", f"{_OURS}.mlp_norm.*"),
        Key("pre_latent_norm.norm.*", "final_norm.*"),
        *dropped("embedder.norm0.*"),  # in the file and unused
    ]
)
_LATENT, _DECODER = "latent.layers.1.inference.", "decoder."


class Groups:
    """Which cells see each other.

    Parameters
    ----------
    group
        ``all``, a number of neighbouring rows, or a column of the cell table.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.rows = int(group) if group.isdigit() else _WHOLE
        if self.rows < 1:
            raise ConfigError(f"a group holds at least 1 cell, not {group}")
        self.codes: NDArray[np.int64] | None = None

    def read_context(self, source: CellSource) -> None:
        """Take the group of every cell of a file.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if self.group != "all" and not self.group.isdigit():
            values = source.obs_column(self.group).astype(str)
            self.codes = np.unique(values, return_inverse=True)[1].ravel()

    def of(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
        """Places of the cells of each group among some rows."""
        if self.rows < _WHOLE:
            codes = numbers // self.rows
        elif self.group == "all":
            codes = np.zeros(len(numbers), np.int64)
        elif self.codes is None:
            raise InputError(f"CellPLM needs the column {self.group!r} of the cells; call read_context first")
        else:
            codes = self.codes[numbers]
        for code in np.unique(codes):
            yield np.flatnonzero(codes == code)


class CellPlm(CellModel):
    """CellPLM; see the module.

    Parameters
    ----------
    network
        Its modules with their weights.
    vocabulary
        Its genes.
    groups
        Which cells see each other.
    cluster
        ``drawn`` or ``expected``.
    files
        What it was read from.
    """

    name, wants_counts, pools, reads = "cellplm", True, ("latent",), "group"
    precisions = PRECISIONS

    def __init__(
        self,
        network: CellPlmNetwork,
        vocabulary: GeneVocabulary,
        groups: Groups,
        *,
        cluster: str,
        files: list[Path],
    ) -> None:
        self.network, self.vocabulary = network.eval(), vocabulary
        self.preprocessor = groups  # what a file is asked for beside its counts
        self.cluster, self._files = cluster, files
        self.width = network.latent.y_mu.out_features
        self.block_rows = groups.rows
        self._sums: RowSums | None = None

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, z)`` of the groups of a block.

        Raises
        ------
        ConfigError
            For a hidden state or compiling, which CellPLM does not offer.
        """
        if options.hidden_state is not None or options.compile:
            raise ConfigError("CellPLM takes no hidden state or compile; leave them out")
        rows = prepare(block, match)
        device = pick_device(options.device)
        self.network.to(device)
        if self._sums is None:
            self._sums = RowSums(self.network.core.embeddings.token.weight.detach())
        embedder: Any = self.network.core.embeddings
        core, context = precise(self.network.core, device, options.precision)
        vectors = np.zeros((len(block), self.width), np.float32)
        for places in self.preprocessor.of(block.numbers):
            spans = [slice(int(rows.indptr[i]), int(rows.indptr[i + 1])) for i in places]
            genes = np.concatenate([match.target[rows.indices[span]] for span in spans])
            counts = np.concatenate([rows.data[span] for span in spans])
            cells = np.repeat(np.arange(len(spans)), [span.stop - span.start for span in spans])
            kept = genes >= 0
            values = np.log1p(counts[kept].astype(np.float64)).astype(np.float32)
            with torch.inference_mode():
                sums = self._sums(genes[kept].astype(np.int64), values, cells[kept], len(spans), device)
                embedded = embedder.of_sums(sums)
                with context:
                    states = self.network.states(embedded, core).float()
                vectors[places] = self.vectors(states, seed=options.seed).cpu().numpy()
        return vectors

    def vectors(self, states: Tensor, *, seed: int) -> Tensor:
        """Vectors ``(n, z)`` of one group; the seed draws its clusters, as torch draws them on the CPU.

        Parameters
        ----------
        states
            ``(n, d)`` of its cells.
        seed
            Of the drawn clusters.
        """
        latent = self.network.latent
        if self.cluster == "expected":
            return latent.expected(states)
        generator = torch.Generator().manual_seed(seed)
        return latent.gaussian(states, latent.draw(latent.logits(states), generator))[0]

    def gene_table(self) -> NDArray[np.float32]:
        """Rows ``(g, d)`` of the table that counts are multiplied by."""
        return self.network.core.embeddings.token.weight.detach().float().cpu().numpy()

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        return {
            "kind": self.name,
            "sha256": hash_files(self._files),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "width": self.width,
            "genes": len(self.vocabulary),
            "group": self.preprocessor.group,
            "cluster": self.cluster,
        }


def _found(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None)


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as CellPLM publishes its checkpoints."""
    return _found(folder, _CONFIG) is not None and _found(folder, _WEIGHTS) is not None


def read_network(path: Path, config: dict[str, Any]) -> CellPlmNetwork:
    """The network of a weight file, strictly.

    Parameters
    ----------
    path
        Of the weights.
    config
        As published.

    Raises
    ------
    CheckpointError, ConfigError
        If a weight is missing, extra or mis-shaped, or the checkpoint is of a kind that is not read.
    """
    for field, wanted in (("enc_mod", "flowformer"), ("latent_mod", "gmvae"), ("dec_mod", "nbmlp")):
        if config.get(field, wanted) != wanted:
            raise ConfigError(f"CellPLM with {field} {config[field]!r} is not supported; only {wanted!r} is")
    # The defaults are those of the published class.
    if config.get("cat_pe", True) and config.get("pe_type", "sin"):
        raise ConfigError("CellPLM with cat_pe reads positions of cells, which is not supported")
    norm = choose("CellPLM's norm", config.get("norm", "layernorm"), ("layernorm", "groupnorm"))
    tensors: dict[str, Tensor] = read_torch(path).get("model_state_dict", {})
    # The published code adds 0 in place of what its encoder of positions makes of coordinates.
    tensors = {name: x for name, x in tensors.items() if not name.startswith("embedder.pe_enc.")}
    parts: dict[str, dict[str, Tensor]] = {_LATENT: {}, _DECODER: {}, "": {}}
    for name, tensor in tensors.items():
        prefix = next(prefix for prefix in parts if name.startswith(prefix))
        parts[prefix][name.removeprefix(prefix)] = tensor
    try:
        genes, width = tensors["embedder.feat_enc.emb"].shape
        hidden = len(tensors["encoder.layers.0._ff_block.0.bias"])
        shape = CoreConfig(
            vocab_size=genes,
            d_model=width,
            n_layers=config["enc_layers"],
            n_heads=config["enc_head"],
            d_ff=hidden,
            position="none",
            head="none",
            mixer="flowformer",
            norms={"layers": GROUP_NORM.name} if norm == "groupnorm" else {},
            embedder=COUNTS_OF_CELLS.name,
            part_options={COUNTS_OF_CELLS.name: {"norm": norm}},
        )
        check_size(shape, tensors, path)
        core = Transformer(shape)
        clusters, latent = (
            len(parts[_LATENT]["inference_qyx.0.logits.bias"]),
            len(parts[_LATENT]["y_mu.bias"]),
        )
        decoder = Decoder({name: tensor.shape for name, tensor in parts[_DECODER].items()}, norm)
        network = CellPlmNetwork(core, Latent(width, latent, clusters), decoder)
    except KeyError as error:
        raise CheckpointError(f"{path} or its config.json lacks {error}; fetch both again") from error
    load_strict(core, _KEYS.theirs_to_ours(parts[""], shape, path), path)
    load_strict(network.latent, parts[_LATENT], path)
    load_strict(network.decoder, parts[_DECODER], path)
    return network.eval()


def load(folder: Path, *, group: str | None = None, cluster: str = "drawn") -> CellPlm:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    group
        Which cells see each other: ``all``, a number of neighbouring rows, or a column of the cell table.
    cluster
        ``drawn`` by chance from the seed, as published, or ``expected`` over all clusters.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or no group is given.
    """
    choose("cluster", cluster, ("drawn", "expected"))
    if group is None:
        raise ConfigError(
            "CellPLM's cells see each other, so say which are a group: -m 'FOLDER?group=COLUMN' of obs (the "
            "authors' is batch), group=all, or a number of rows"
        )
    described, path = _found(folder, _CONFIG), _found(folder, _WEIGHTS)
    if described is None or path is None:
        raise CheckpointError(f"{folder} holds no {_CONFIG} with {_WEIGHTS}; give a folder of CellPLM")
    config = read_json(described)
    network = read_network(path, config)
    genes = [str(gene) for gene in config.get("gene_list", ())]
    if len(genes) != network.core.config.vocab_size:
        raise CheckpointError(
            f"{described} lists {len(genes)} genes but {path.name} has {network.core.config.vocab_size}; "
            "take both from one release"
        )
    vocabulary = GeneVocabulary.of(genes)
    return CellPlm(network, vocabulary, Groups(group), cluster=cluster, files=[path, described])
