"""Vectors and networks of genes: ``biolm.genes``."""

from biolm.tasks.genes.attention import attention_network
from biolm.tasks.genes.network import GeneNetwork, network, write_network
from biolm.tasks.genes.vectors import GeneVectors, contextual, static, write_vectors

__all__ = [
    "GeneNetwork",
    "GeneVectors",
    "attention_network",
    "contextual",
    "network",
    "static",
    "write_network",
    "write_vectors",
]
