"""Vectors and networks of genes."""
