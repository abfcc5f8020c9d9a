"""The server behind `zoo serve`: SavedModels over TensorFlow Serving's REST and gRPC protocols.

It loads any SavedModel, also one that the zoo did not write, and uses TensorFlow alone: no Keras, no model code.
"""
