"""Generated text: from a model of one's own, or from a server that speaks the OpenAI protocol."""
