"""Cells and sequences as tokens in files, and these packed as a training set."""
