"""The kernels of the adapters of cells in plain numpy: the compiled ones must give the same bytes."""
