"""Weights into a built model: from an export, from Keras Applications."""
