"""Image classification: raw pixels in, classes, labels and probabilities out."""
