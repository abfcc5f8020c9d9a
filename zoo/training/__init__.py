"""Training: a run from its data to its export, and the Keras model for training."""

from zoo.backend import require_keras

require_keras()  # before the modules of this package, which need it
