"""Transformer families: one file each, a core config and a table of checkpoint keys."""
