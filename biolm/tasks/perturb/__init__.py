"""In-silico perturbation: :func:`biolm.perturb`."""

from biolm.tasks.perturb.run import Perturbation, perturb
from biolm.tasks.perturb.settings import PerturbKeywords, PerturbSettings

__all__ = ["PerturbKeywords", "PerturbSettings", "Perturbation", "perturb"]
