"""A BiLSTM that predicts the kind of token of each character of Python source. No network, no download.

    python recipes/bilstm_tagger_python_tokens.py

Ours: nothing is published for this data. The data is the source of the standard library, so the figures hold for one
version of Python. The kind of a string or comment depends on the characters on both sides.
"""

import zoo

recipe = zoo.TaggingRecipe(
    name="bilstm_tagger_python_tokens",
    model="bilstm_tagger",
    model_args={"character_units": 8, "character_embedding": 8, "units": 64, "noise": 0.0},
    dataset="python_tokens",
    epochs=3,
    batch_size=64,
    optimizer="adam",
    learning_rate=0.005,
    schedule="cosine",
    warmup_epochs=0.1,
    clip_norm=1.0,
    steps_per_execution=10,
)

if __name__ == "__main__":
    zoo.main(recipe)
