"""Writers of results into AnnData stores and tables, for every kind of data."""
