"""Text classification: a text in, its class, label and probabilities out."""
