"""What embeddings of cells are worth: metrics, probes, curves, always beside their baselines."""
