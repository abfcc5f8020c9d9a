"""Tagging: sentences in, a tag and its probability for each token out."""
