"""Luong's attention on Multi30k, English to German, for comparison with RNNsearch.

    python recipes/seq2seq_luong_multi30k_en_de.py

The encoder, sizes and training are those of `seq2seq_multi30k_en_de`. The new decoder state is the query, and the
attention output is an input of the next step (Luong, Pham & Manning 2015, sections 3.1 and 3.3). No figure is published
for this setting. Measured, two runs of one seed on different hardware: 37.16 BLEU on the 2016 test set, 37.94 with a
beam of five; an earlier version of the code gave 36.47 and 37.42. RNNsearch has 34.49 and 35.77. The initialisation is
that of the paper; with RNNsearch's smaller initial weights the same training gave 16.08.
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
