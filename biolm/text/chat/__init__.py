"""Generated text: from a local model, or from a server that speaks the OpenAI protocol."""
