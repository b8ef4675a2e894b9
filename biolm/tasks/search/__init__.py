"""Reference mapping and cell search."""
