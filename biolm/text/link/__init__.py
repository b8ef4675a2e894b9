"""From mentions to identifiers, and from mentions to relations."""
