"""Tokens and identifiers; nothing here imports torch."""
