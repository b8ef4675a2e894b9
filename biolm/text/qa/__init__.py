"""Questions: spans in a text, yes or no, and multiple choice."""
