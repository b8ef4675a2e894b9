"""Named entities: train a tagger, tag documents."""
