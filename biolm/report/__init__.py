"""Pages, maps, plots and tables of results."""
