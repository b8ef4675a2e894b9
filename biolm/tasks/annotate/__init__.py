"""Cell-type annotation from labelled cells."""
