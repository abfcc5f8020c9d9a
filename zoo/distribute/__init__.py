"""Where a run runs: one device, several, several machines, a TPU."""
