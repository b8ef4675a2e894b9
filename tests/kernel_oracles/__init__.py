"""The kernels of the adapters of cells written plainly in numpy: the compiled ones must give the same bytes."""
