"""Tasks. A task defines loss, metrics, preprocessing, evaluation and the serving signatures."""
