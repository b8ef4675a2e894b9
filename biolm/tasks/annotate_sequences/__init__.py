"""Labelling sequences, or each of their letters, by what labelled ones taught."""
