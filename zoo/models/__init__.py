"""Model graphs, one family per file, in Keras 3 for any backend."""
