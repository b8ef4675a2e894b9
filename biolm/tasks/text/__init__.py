"""Verbs on texts that need other verbs' parts."""
