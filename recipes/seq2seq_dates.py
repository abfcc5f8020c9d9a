"""RNNsearch on dates in thirty languages, to be written as ISO 8601, character by character; no network needed.

    python recipes/seq2seq_dates.py

Ours, to see attention at work: the run's `attention.png` shows where each digit comes from. The score is the share of
dates that are right as a whole, of days that training never saw.
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
