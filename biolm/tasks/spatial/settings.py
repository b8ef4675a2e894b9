"""Choices of the tasks on sections, declared once for Python and the command line; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from biolm.adapters.spatial.patches import PatchSettings
from biolm.common_options import SPECIES, AllowNormalised, Overwrite, Progress, Seed
from biolm.errors import ConfigError
from biolm.io.spatial.open import SectionOptions
from biolm.options import Option, check_options
from biolm.training.spatial.settings import FitSettings

__all__ = [
    "AlignSettings",
    "DeconvolveSettings",
    "DomainSettings",
    "ModelSettings",
    "PrepareSettings",
    "TrainSettings",
]

SectionDevice = Annotated[str, Option(help="cpu, cuda, cuda:1 ...", panel="Run")]
FirstSeed = Annotated[int, Option(help="First seed.", min=0, panel="Run")]


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """What the user says about an image.

    Parameters
    ----------
    microns_per_pixel
        Of the section's coordinates, where they are pixels; of the image, where they are micrometres.
    image_scale
        Pixels of the image per unit of the coordinates, where it is none of the images that are known.
    spot_pitch_um
        Distance of neighbouring spots: 100 for Visium, 200 for Spatial Transcriptomics.
    force_alignment
        Go on where the spots do not lie on the tissue.
    drop_outside
        Accept spots outside the image; they get no patch.
    """

    microns_per_pixel: Annotated[
        float | None, Option(help="Scale of the coordinates.", shown="stated, or from the grid")
    ] = None
    image_scale: Annotated[
        float | None, Option(help="Pixels of the image per unit of the coordinates.", shown="recognised")
    ] = None
    spot_pitch_um: Annotated[
        float | None, Option(help="Distance of spots: Visium 100, ST 200.", shown="the layout's")
    ] = None
    force_alignment: Annotated[bool, Option(help="Go on where spots do not lie on tissue.")] = False
    drop_outside: Annotated[bool, Option(help="Accept spots outside the image.", cli=False)] = False


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Choices of :func:`~biolm.tasks.spatial.prepare.prepare`.

    Parameters
    ----------
    section
        Reading: bins, library, matrix.
    align
        Scale of the image.
    patches
        Size of the patches and policy at the edge.
    encoder
        ``colour``, ``convolutions``, or the folder of a ViT or DINOv2.
    stain
        Normalise the stains.
    symmetric
        Average features over the eight flips and turns of each patch.
    patient
        Whose tissue it is; sections of one patient stay on one side of a split.
    species, assay
        Context tokens; inferred from the layout where not given.
    cache
        Folder of image features; None to keep none.
    device
        Where an image encoder runs.
    allow_normalised
        Take values that are no counts.
    overwrite
        Whether an existing output may be replaced.
    progress
        Draw a progress bar on stderr.
    """

    section: Annotated[SectionOptions, Option(help="Reading.", cli=False)] = field(
        default_factory=SectionOptions
    )
    align: Annotated[AlignSettings, Option(help="Scale of the image.", cli=False)] = field(
        default_factory=AlignSettings
    )
    patches: Annotated[PatchSettings, Option(help="Size of the patches.", cli=False)] = field(
        default_factory=PatchSettings
    )
    encoder: Annotated[
        str, Option(help="colour, convolutions, or the folder of a ViT or DINOv2.", panel="Model")
    ] = "colour"
    stain: Annotated[bool, Option(help="Normalise the stains, fitted on this section.")] = False
    symmetric: Annotated[bool, Option(help="Average features over flips and turns of a patch.")] = False
    patient: Annotated[
        str | None, Option(help="Whose tissue it is, for splits.", shown="inferred from obs")
    ] = None
    species: Annotated[str | None, SPECIES] = None
    assay: Annotated[str | None, Option(help="visium, xenium ...", shown="inferred from the layout")] = None
    cache: Annotated[Path | None, Option(help="Folder of image features.", cli=False)] = None
    device: SectionDevice = "cpu"
    progress: Progress = False
    overwrite: Overwrite = False
    allow_normalised: AllowNormalised = False


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """Choices of :func:`~biolm.tasks.spatial.domains.domains`.

    Parameters
    ----------
    k
        Domains; None to choose the number by silhouette, without labels.
    method
        ``kmeans`` or ``mixture``. The method alone moves scores more than most models do, so it is named and
        never picked by the labels.
    smooth
        Neighbours that are averaged with a spot, 0 for none.
    components
        Of PCA.
    variable_genes
        Genes that it is made of.
    seeds
        Runs.
    seed
        The first.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    k: Annotated[int | None, Option(help="Domains.", shown="by silhouette")] = None
    method: Annotated[str, Option(help="kmeans or mixture.", choices=("kmeans", "mixture"))] = "kmeans"
    smooth: Annotated[int, Option(help="Neighbours averaged with a spot; 0 for none.", min=0)] = 7
    components: Annotated[int, Option(help="Principal components.", min=1)] = 20
    variable_genes: Annotated[int, Option(help="Genes of the components.", min=1, cli=False)] = 2000
    seeds: Annotated[int, Option(help="Runs.", min=1, panel="Run")] = 10
    seed: FirstSeed = 0

    def __post_init__(self) -> None:
        check_options(self)
        if self.k is not None and self.k < 2:
            raise ConfigError(f"a section needs at least 2 domains, not {self.k}")


@dataclass(frozen=True, kw_only=True)
class DeconvolveSettings:
    """Choices of :func:`~biolm.tasks.spatial.deconvolve.deconvolve`.

    Parameters
    ----------
    label
        Column of the reference with its types.
    topics
        Numbers of topics to try without a reference; the one with the lowest held-out perplexity is used.
    genes
        Most variable genes that are read.
    held_out
        Fraction of the spots that are held out to choose the number of topics.
    iterations
        Most passes of LDA.
    seed
        Of LDA and of what is held out.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    label: Annotated[
        str | None, Option(help="Column of the reference with its types.", shown="none", needs=("reference",))
    ] = None
    topics: Annotated[
        tuple[int, ...], Option(help="Number of topics to try; may be repeated.", shown="2..6, 8", min=2)
    ] = (2, 3, 4, 5, 6, 8)
    genes: Annotated[int, Option(help="Most variable genes that are read.", min=1)] = 1000
    held_out: Annotated[float, Option(help="Fraction held out.", above=0, below=1, cli=False)] = 0.2
    iterations: Annotated[int, Option(help="Most passes of LDA.", min=1)] = 200
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_options(self)
        if not self.topics:
            raise ConfigError("give numbers of topics of at least 2, not ()")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Genes and shape of a model.

    Parameters
    ----------
    targets
        Genes to predict.
    tokens
        Other genes that have a token.
    components
        Principal components of all other genes.
    neighbours
        Neighbours that a spot looks at.
    gene_tokens
        ``continuous``, ``bins`` or ``rank``.
    width, layers, heads, dropout
        Of the fusion.
    niche
        Column of obs with kinds of spots: the composition of a spot's surroundings is then predicted too.
    niche_um
        Radius of the surroundings.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    targets: Annotated[int, Option(help="Genes to predict.", min=1)] = 50
    tokens: Annotated[int, Option(help="Other genes that have a token.", min=1)] = 64
    components: Annotated[int, Option(help="Principal components of the other genes.", min=1)] = 30
    neighbours: Annotated[int, Option(help="Neighbours that a spot looks at.", min=1)] = 6
    gene_tokens: Annotated[str, Option(help="continuous, bins or rank.")] = "continuous"
    width: Annotated[int, Option(help="Width of the fusion.", min=4)] = 48
    layers: Annotated[int, Option(help="Layers of the fusion.", min=1)] = 2
    heads: Annotated[int, Option(help="Heads of the fusion.", min=1, cli=False)] = 4
    dropout: Annotated[float, Option(help="Dropout of the fusion.", min=0, below=1, cli=False)] = 0.2
    niche: Annotated[
        str | None, Option(help="Column with kinds of spots, whose surroundings are predicted.", shown="none")
    ] = None
    niche_um: Annotated[float, Option(help="Radius of the surroundings.", min=1, needs=("niche",))] = 250.0

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Choices of :func:`~biolm.tasks.spatial.train.train`.

    Parameters
    ----------
    model
        Genes and shape.
    fit
        Losses and optimiser.
    split
        ``auto``, ``patient``, ``section``, ``blocks`` or ``random``.
    force_random_split
        Allow the last.
    seeds
        Runs of every fold; 0 trains the final model alone, without any score.
    controls
        Train once more on shuffled pairs.
    seed
        First seed.
    device
        Where.
    overwrite, progress
        Whether an output may be replaced; whether to draw progress.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    model: Annotated[ModelSettings, Option(help="Genes and shape.", cli=False)] = field(
        default_factory=ModelSettings
    )
    fit: Annotated[FitSettings, Option(help="Losses and optimiser.", cli=False)] = field(
        default_factory=FitSettings
    )
    split: Annotated[
        str, Option(help="auto (patient, else section, else blocks), patient, section, blocks or random.")
    ] = "auto"
    force_random_split: Annotated[
        bool, Option(help="Split spots at random all the same.", needs=("split=random",))
    ] = False
    seeds: Annotated[
        int, Option(help="Runs of every fold; 0 trains the final model without scores.", min=0, panel="Run")
    ] = 3
    controls: Annotated[bool, Option(help="Train on shuffled pairs too.", cli=False)] = True
    seed: FirstSeed = 0
    device: SectionDevice = "cpu"
    overwrite: Overwrite = False
    progress: Progress = False

    def __post_init__(self) -> None:
        check_options(self)
