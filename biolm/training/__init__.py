"""Training: a config, a stream of packed batches, a thin Lightning module, checkpoints that load as models.

Read in this order:
config → data (sources → vocabulary → examples → plan → loader) → run (prepare → job → module → train).
:mod:`~biolm.training.fine_tune` does the same on tokens in memory.
"""
