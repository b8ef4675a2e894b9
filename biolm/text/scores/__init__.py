"""Scores that mean what the field means by them."""
