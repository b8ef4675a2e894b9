"""In-silico perturbation."""
