"""RNNsearch on dates in thirty languages, translated to ISO 8601 by characters. No network needed.

    python recipes/seq2seq_dates.py

Ours, to show attention: the picture `attention.png` of the run shows where each digit comes from. The metric is the
share of dates that are correct as a whole. The days of the test split are not in the training split.
"""

import zoo

recipe = zoo.TranslationRecipe(
    name="seq2seq_dates",
    model="seq2seq",
    model_args={"embedding": 32, "units": 128, "maxout": 64, "alignment": 64},
    dataset="dates",
    unit="characters",
    epochs=8,
    batch_size=64,
    optimizer="adam",
    learning_rate=0.003,
    schedule="cosine",
    warmup_epochs=0.2,
    clip_norm=1.0,
)

if __name__ == "__main__":
    zoo.main(recipe)
