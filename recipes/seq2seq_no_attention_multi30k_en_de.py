"""RNNencdec on Multi30k, English to German, to measure the effect of attention.

    python recipes/seq2seq_no_attention_multi30k_en_de.py

`seq2seq_multi30k_en_de` without attention: every word is predicted from one vector for the whole sentence. This is the
comparison of Bahdanau, Cho & Bengio 2015, table 1 and figure 2, where the difference grows with the length. No figure
is published for this setting. Measured, one run: 25.21 BLEU on the 2016 test set (34.49 with attention), 26.87 with a
beam of five (35.77). Sources of up to 10 words lose 7.8 BLEU, sources of 16 to 20 words 12.5.
"""

import zoo

recipe = zoo.TranslationRecipe(
    name="seq2seq_no_attention_multi30k_en_de",
    model="seq2seq_no_attention",
    model_args={"embedding": 256, "units": 512, "maxout": 256, "drop_rate": 0.4},
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
