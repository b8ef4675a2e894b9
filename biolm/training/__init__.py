"""Training: a config, a stream of packed batches, a thin Lightning module, checkpoints that load as models.

Read in this order:
config → sources → language → examples → plan → prepare → loader → module → checkpoint → run.
Beside that way: folder is what a run leaves, ranks and shards are several processes, stop hears signals.
"""
