"""A run: prepared, started, trained, validated and written down; ``folder`` is what it leaves."""
