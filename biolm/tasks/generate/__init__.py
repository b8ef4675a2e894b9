"""New sequences: written on from prompts by decoders, filled in by encoders."""
