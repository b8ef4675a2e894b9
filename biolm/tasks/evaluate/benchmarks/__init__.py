"""Published benchmarks of sequences, read from their folders and scored beside simple baselines."""
