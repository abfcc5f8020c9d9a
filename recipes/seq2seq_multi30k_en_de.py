"""RNNsearch on Multi30k, English to German, lower case: captions of 29,000 pictures.

    python recipes/seq2seq_multi30k_en_de.py

The model of Bahdanau, Cho & Bengio 2015 in a size for little data (embeddings of 256, 512 units, 256 for alignment and
maxout), with dropout. The training is ours: Adam, a cosine schedule, label smoothing, averaged weights, and a
vocabulary of words that occur at least twice. No figure is published for this setting. Similar models with subword
units reach 33.7 to 38.1 BLEU on tokenised text (Calixto et al. 2017; Caglayan et al. 2017); these figures cannot be
compared exactly with ours. BLEU is sacreBLEU's on raw references, signature
nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:2.6.0. Measured, one run: 34.49 on the 2016 test set, 35.77 with a
beam of five.
"""

import zoo

recipe = zoo.TranslationRecipe(
    name="seq2seq_multi30k_en_de",
    model="seq2seq",
    model_args={"embedding": 256, "units": 512, "maxout": 256, "alignment": 256, "drop_rate": 0.4},
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
