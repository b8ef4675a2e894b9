"""What a model attends to: maps over the genes of cells, and contacts of residues read from them."""
