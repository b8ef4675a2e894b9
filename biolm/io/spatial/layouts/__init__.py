"""One module a layout; see :mod:`biolm.io.spatial.open`."""
