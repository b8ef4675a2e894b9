"""Fit factor models of cells to a collection of files."""
