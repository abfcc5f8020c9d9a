"""Devices of a run: one device, several devices, several machines, a TPU."""
