"""char-rnn on the documentation that CPython contains. No network, no download.

    python recipes/char_rnn_python_docs.py

Ours: nothing is published for this data. The text is the English of `pydoc_data`, half a million characters, so the
figures hold for one version of Python.
"""

import zoo

recipe = zoo.LanguageModelRecipe(
    name="char_rnn_python_docs",
    model="char_rnn",
    dataset="python_docs",
    epochs=20,
    batch_size=32,
    sequence_length=50,
    optimizer="adam",
    learning_rate=0.005,
    schedule="cosine",
    warmup_epochs=0.5,
    clip_norm=1.0,
)

if __name__ == "__main__":
    zoo.main(recipe)
