"""What a model is trained for. A task owns loss, metrics, preprocessing, evaluation and the serving signatures."""
