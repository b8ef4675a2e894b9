"""The demo: shipped cells embedded and scored beside controls."""
