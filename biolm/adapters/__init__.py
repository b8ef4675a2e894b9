"""Biology to tokens; siblings never import each other."""
