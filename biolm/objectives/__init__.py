"""Objectives: from what the core returns to a loss. Read views → base → draws → one of them."""
