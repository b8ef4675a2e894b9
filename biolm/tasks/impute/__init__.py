"""Impute genes that a file does not measure."""
