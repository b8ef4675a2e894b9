"""Metrics with intervals, baselines and splits: statistics alone."""
