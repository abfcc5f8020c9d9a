"""RNNsearch on Multi30k, English to French, lower case: captions of 29,000 pictures.

    python recipes/seq2seq_multi30k_en_fr.py

The settings of `seq2seq_multi30k_en_de` for another language. No figure is published for this setting. Measured, one
run: 55.56 BLEU on the 2016 test set, 56.30 with a beam of five.
"""

import zoo

recipe = zoo.TranslationRecipe(
    name="seq2seq_multi30k_en_fr",
    model="seq2seq",
    model_args={"embedding": 256, "units": 512, "maxout": 256, "alignment": 256, "drop_rate": 0.4},
    dataset="multi30k/en-fr",
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
