"""From the name of a data set to batches: reading, decoding, splitting, ordering and augmenting."""
