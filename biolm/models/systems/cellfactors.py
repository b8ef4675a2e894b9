"""The panel-aware factor model of cells, beside gene text.

Dimensions: ``n`` cells · ``m`` genes, human then mouse · ``h`` human genes · ``k`` genes with loadings ·
``p`` those of a file · ``d`` factors.

Factor analysis (Rubin and Thayer 1982) whose data sets may have different genes: y = μ + W z + ε,
z ~ N(0, I), ε ~ N(0, Ψ), where y are logs of scaled counts. A cell's factors are the posterior mean of z
given the genes that its own file measures, so cells of any panel lie in one space, and the posterior
covariance says how much the panel can see. ``data/cellfactors/README.md`` says how it was fitted,
``docs/explanation/default-model.md`` what it is worth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.factors import human_match, log_counts, panel_of, summed
from biolm.errors import CheckpointError, GeneMatchError
from biolm.io.cells.block import CellBlock, CellSource
from biolm.models.model import CellModel, EmbedOptions, Imputer
from biolm.models.systems import genetext
from biolm.models.systems.genetext import GeneText, read_table
from biolm.progress import log
from biolm.resources import shipped
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

__all__ = ["CellFactors", "Panel", "load", "recognises", "save"]

FILE = "cellfactors.safetensors"
TENSORS = {"genes", "loadings", "noise", "means", "fractions", "scales"}
FEWEST = 30
TEXT_SHARE = 0.5
UNCERTAIN = 0.4


@dataclass(frozen=True, eq=False)
class Panel:
    """What the genes of one file let the model see.

    Parameters
    ----------
    projection
        ``(p, d)`` the posterior mean is log counts times this, minus ``offset``.
    offset
        ``(d,)``.
    covariance
        ``(d, d)`` posterior covariance of the factors; the unit matrix where nothing is seen.
    genes
        ``(p,)`` rows among the ``k`` genes.
    """

    projection: NDArray[np.float64]
    offset: NDArray[np.float64]
    covariance: NDArray[np.float64]
    genes: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.float64]:
        """``(d,)`` fraction of each factor's variance that these genes explain."""
        return 1 - np.diag(self.covariance)


@dataclass(frozen=True, eq=False, repr=False)
class CellFactors(CellModel):
    """Loadings of genes, and the gene-text vectors that stand beside the factors.

    Parameters
    ----------
    text
        The gene-text model; its vocabulary is this model's.
    rows
        ``(k,)`` human rows of the genes with loadings.
    loadings
        ``(k, d)`` float32, by falling signal.
    noise
        ``(k,)`` variance of a gene that no factor explains.
    means
        ``(k,)`` mean of a gene over the sets of the fit.
    fractions
        ``(h,)`` fraction of a cell's counts that each human gene holds.
    scales
        Root mean squares of factors and text vectors over the cells of the fit.
    sha256
        Of the file the loadings were read from.
    about
        What the file says about itself.

    Examples
    --------
    >>> model = load()
    >>> model.name, model.width, model.vocabulary.species
    ('cellfactors', 112, ('human', 'mouse'))
    """

    text: GeneText
    rows: NDArray[np.int64]
    loadings: NDArray[np.float32]
    noise: NDArray[np.float32]
    means: NDArray[np.float32]
    fractions: NDArray[np.float32]
    scales: tuple[float, float]
    sha256: str
    about: dict[str, str]
    name: str = "cellfactors"
    wants_counts: bool = True
    pools: tuple[str, ...] = ("posterior-mean",)

    @property
    def vocabulary(self) -> GeneVocabulary:  # type: ignore[override]  # the text's
        """Genes of both species."""
        return self.text.vocabulary

    @property
    def width(self) -> int:  # type: ignore[override]  # factors and text
        """Axes of a vector: factors, then text."""
        return int(self.loadings.shape[1]) + self.text.width

    @property
    def signal(self) -> NDArray[np.float64]:
        """``(d,)`` signal-to-noise ratio of each factor where every gene is measured."""
        loadings = self.loadings.astype(np.float64)
        return np.asarray((loadings**2 / self.noise[:, None]).sum(0))

    @property
    def _weights(self) -> NDArray[np.float64]:
        """``(d,)`` the quarter power of the signal, at most 1: reliable factors weigh more."""
        return np.asarray((self.signal / self.signal.max()) ** 0.25)

    def panel(self, match: GeneMatch) -> Panel:
        """What the genes of a file let the model see.

        Raises
        ------
        GeneMatchError
            If the file measures fewer than 30 genes with loadings.
        """
        genes = np.flatnonzero(np.isin(self.rows, panel_of(human_match(match, self.text.human))))
        if len(genes) < FEWEST:
            raise GeneMatchError(
                f"the file measures {len(genes)} genes that {self.name} has loadings for, and it needs "
                f"{FEWEST}; give cells with more genes measured, or embed with the model genetext"
            )
        return self._panel(genes)

    def examine(self, match: GeneMatch) -> dict[str, float]:
        """How many genes with loadings a file measures, and how uncertain the factors are given these.

        ``uncertainty`` is the posterior variance of a factor, 0 to 1, weighted as in a vector;
        ``uncertainty_all_genes`` the same if every gene were measured. All cells of a file share it, since it
        depends on which genes are measured and not on their counts.

        Raises
        ------
        GeneMatchError
            If the file measures fewer than 30 genes with loadings.
        """
        panel, whole = self.panel(match), self._panel(np.arange(len(self.rows)))
        weight = self._weights**2
        uncertainty, least = (float(np.average(1 - one.seen, weights=weight)) for one in (panel, whole))
        if uncertainty > UNCERTAIN:
            log.warning(
                "%d genes of the file have loadings: they leave %.0f %% of the factors' variance unseen; "
                "compare such cells with care",
                len(panel.genes),
                100 * uncertainty,
            )
        return {
            "genes_with_loadings": len(panel.genes),
            "uncertainty": uncertainty,
            "uncertainty_all_genes": least,
        }

    def adapted(self, source: CellSource, match: GeneMatch) -> CellModel:
        """Joined with 20 principal components of the data set; see :mod:`cellfactors_adapt`.

        Parameters
        ----------
        source
            The whole data set, whose components are computed.
        match
            Where its genes lie among those of the model.

        Raises
        ------
        InputError
            If the data set has fewer than 100 cells.
        """
        from biolm.models.systems.cellfactors_adapt import adapt

        return adapt(self, self.loadings.shape[1], source, match)

    def imputer(self, match: GeneMatch) -> Imputer:
        """The posterior mean of genes; see :mod:`cellfactors_impute`.

        Raises
        ------
        GeneMatchError
            If the file measures fewer than 30 genes with loadings.
        """
        from biolm.models.systems.cellfactors_impute import FactorImputer

        return FactorImputer.of(self, match)

    def embed(
        self,
        block: CellBlock,
        match: GeneMatch,
        options: EmbedOptions,
    ) -> NDArray[np.float32]:
        """Vectors ``(n, d + text)`` of a block of counts; one depends on that cell and its gene panel alone.

        Raises
        ------
        GeneMatchError
            If the file measures fewer than 30 genes with loadings.
        """
        text = self.text.embed(block, match, options)
        parts = [self.placed(block, match), TEXT_SHARE * text / self.scales[1]]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def placed(self, block: CellBlock, match: GeneMatch) -> NDArray[np.float32]:
        """The first ``d`` axes of :meth:`embed`, without the text: factors weighted by their signal.

        Parameters
        ----------
        block
            Counts of ``n`` cells.
        match
            Where the genes of the file lie among those of the model.
        """
        weighted = self.factors(block, match) * self._weights / self.scales[0]
        return np.asarray(weighted, np.float32)

    def factors(self, block: CellBlock, match: GeneMatch) -> NDArray[np.float32]:
        """Posterior means ``(n, d)`` of a block of counts, unscaled; zeros, as the prior, without counts.

        Parameters
        ----------
        block, match
            As of :meth:`placed`.
        """
        panel, human = self.panel(match), human_match(match, self.text.human)
        logs = log_counts(block, human, self.fractions)
        # A column without a gene takes the last place, which is that of a gene without loadings.
        place = np.full(len(self.text.human) + 1, -1, np.int32)
        place[self.rows[panel.genes]] = np.arange(len(panel.genes))
        sums = summed(logs, place[human.target], np.ascontiguousarray(panel.projection, np.float32))
        means = sums - panel.offset.astype(np.float32)
        means[logs.totals == 0] = 0
        return means

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        return {
            "kind": "factors of cells beside gene-text vectors",
            "checkpoint_sha256": self.sha256,
            "text_sha256": self.text.sha256,
            "genes": len(self.vocabulary),
            "genes_with_loadings": len(self.rows),
            "width": self.width,
            "parameters": int(self.loadings.size + self.text.vectors.size),
            **self.about,
        }

    def _panel(self, genes: NDArray[np.int64]) -> Panel:
        loadings = self.loadings[genes].astype(np.float64)
        weighted = loadings / self.noise[genes, None]
        covariance = np.linalg.inv(np.eye(loadings.shape[1]) + loadings.T @ weighted)
        projection = np.asarray(weighted @ covariance, np.float64)
        offset = np.asarray(self.means[genes] @ projection, np.float64)
        return Panel(projection, offset, np.asarray(covariance, np.float64), genes)


def recognises(folder: Path) -> bool:
    """Whether a folder holds a fitted factor model."""
    return (folder / FILE).is_file()


def load(path: Path | None = None, *, text: GeneText | None = None) -> CellFactors:
    """Read a factor model.

    Parameters
    ----------
    path
        A folder that holds ``cellfactors.safetensors``; the model that ships with biolm by default.
    text
        The gene-text model beside it; the one that ships by default.

    Raises
    ------
    CheckpointError
        If the file is damaged, a tensor is missing, left over or mis-shaped, or a gene is unknown to the
        gene-text model.
    """
    file = (shipped("cellfactors") if path is None else path) / FILE
    tensors, about, sha256 = read_table(file, "loadings")
    if tensors.keys() != TENSORS:
        wanted, present = ", ".join(sorted(TENSORS)), ", ".join(sorted(tensors))
        raise CheckpointError(f"{file} should hold the tensors {wanted}, but holds {present}")
    text = genetext.load() if text is None else text
    count = int((text.human == np.arange(len(text.human))).sum())
    genes, loadings = tensors["genes"].astype(np.int64), tensors["loadings"].astype(np.float32)
    sizes = {len(genes), len(loadings), len(tensors["noise"]), len(tensors["means"])}
    fits = loadings.ndim == 2 and len(sizes) == 1 and tensors["scales"].shape == (2,)
    if not fits or len(tensors["fractions"]) != count or about.get("text_sha256") != text.sha256:
        raise CheckpointError(
            f"{file} does not fit the gene-text vectors of this biolm; fit it again with biolm fit-factors"
        )
    if len(genes) and not 0 <= genes.min() <= genes.max() < count:
        raise CheckpointError(f"{file} names genes that do not exist; make or fetch it again")
    first, second = tensors["scales"].tolist()
    return CellFactors(
        text=text,
        rows=genes,
        loadings=loadings,
        noise=tensors["noise"].astype(np.float32),
        means=tensors["means"].astype(np.float32),
        fractions=tensors["fractions"].astype(np.float32),
        scales=(first, second),
        sha256=sha256,
        about={name: value for name, value in about.items() if name != "text_sha256"},
    )


def save(model: CellFactors, file: Path) -> None:
    """Write the loadings to a safetensors file: the same model, the same bytes.

    Parameters
    ----------
    model
        To save.
    file
        To write.
    """
    from safetensors import numpy as tensors

    table: dict[str, NDArray[Any]] = {
        "genes": model.rows.astype(np.int32),
        "loadings": model.loadings.astype(np.float16),
        "noise": model.noise.astype(np.float32),
        "means": model.means.astype(np.float32),
        "fractions": model.fractions.astype(np.float32),
        "scales": np.array(model.scales, np.float64),
    }
    about = {**model.about, "text_sha256": model.text.sha256}
    # One entry of metadata: several would be written in an order that changes from run to run.
    file.write_bytes(tensors.save(table, metadata={"about": json.dumps(about)}))
