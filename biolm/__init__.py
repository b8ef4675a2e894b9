"""biolm: foundation models on sequences and single cells."""

__version__ = "0.1.0"
