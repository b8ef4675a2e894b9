"""Objectives: from what the core returns to a loss. Read base → draws → one of the objectives."""
