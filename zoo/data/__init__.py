"""From a data set's name to batches: what is decoded once, in which order it comes, how it is changed on the way."""
