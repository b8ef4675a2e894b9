"""Tissue sections: prepare, check, train, embed, predict, retrieve, domains, deconvolve."""
