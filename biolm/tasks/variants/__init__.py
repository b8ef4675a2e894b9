"""How likely a model of sequences finds variants of proteins and genomes."""
