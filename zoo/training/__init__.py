"""Training: a run from its data to its export, and the Keras model that trains."""

from zoo.backend import require_keras

require_keras()  # before the modules of this package, which cannot do without
