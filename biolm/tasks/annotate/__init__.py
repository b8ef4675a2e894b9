"""Naming cells by what labelled cells taught."""
