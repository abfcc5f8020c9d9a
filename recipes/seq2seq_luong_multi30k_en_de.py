"""Luong's attention on Multi30k, English to German, beside RNNsearch.

    python recipes/seq2seq_luong_multi30k_en_de.py

The encoder, sizes and training of `seq2seq_multi30k_en_de`; the new state asks, and what it finds is fed on (Luong,
Pham & Manning 2015, sections 3.1 and 3.3). No figure is published for this setting. Measured, one run: 37.19 BLEU on
the 2016 test set, 38.28 with a beam of five, where RNNsearch has 34.49 and 35.77. The weights start as the paper's do;
from RNNsearch's smaller ones the same training ended at 16.08.
"""

import zoo

recipe = zoo.TranslationRecipe(
    name="seq2seq_luong_multi30k_en_de",
    model="seq2seq_luong",
    model_args={"embedding": 256, "units": 512, "drop_rate": 0.4},
    dataset="multi30k/en-de",
    lower_case=True,
    min_count=2,
    label_smoothing=0.1,
    epochs=15,
    batch_size=64,
    optimizer="adam",
    learning_rate=0.001,
    schedule="cosine",
    warmup_epochs=1,
    clip_norm=1.0,
    keep="average",
    average_momentum=0.998,
    steps_per_execution=10,
)

if __name__ == "__main__":
    zoo.main(recipe)
