"""What a collection of documents is about: words, topics, genes named together."""
