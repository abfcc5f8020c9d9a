"""One file a family: graphs and nothing else, in Keras 3 for any backend."""
