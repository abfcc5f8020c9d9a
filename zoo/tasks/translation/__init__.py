"""Translation: a text in, its translation and the attention between their tokens out."""
