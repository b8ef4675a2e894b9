"""One file a published system: its shape, its tokens, its pooling, its checkpoint keys."""
