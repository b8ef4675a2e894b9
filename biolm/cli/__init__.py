"""Thin commands, one a task, with lazy imports."""
