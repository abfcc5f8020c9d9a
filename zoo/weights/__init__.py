"""Pretrained weights for built models."""
