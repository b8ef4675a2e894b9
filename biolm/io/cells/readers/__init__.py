"""One module a file format; see :mod:`biolm.io.cells.open` for what each offers."""
