"""Published systems: one file each, with its tokens, its pooling and its own parts."""
