"""Training of gene-image models on sections, which fit into memory."""
