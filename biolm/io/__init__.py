"""Readers and writers; nothing here imports torch."""
