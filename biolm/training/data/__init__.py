"""Examples of a run by number: files found, vocabulary known, labels read, batches planned and handed out."""
