"""Training: a run from its data to its export, and the Keras model for training."""
