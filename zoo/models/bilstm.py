"""BiLSTMs over words and their characters: Plank, Søgaard & Goldberg, ACL 2016; Lample et al., NAACL 2016."""

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.errors import UsageError
from zoo.layers import PerStep


def encoder(
    words,
    characters,
    *,
    word_vocabulary: int,
    character_vocabulary: int,
    word_embedding: int,
    character_embedding: int,
    character_units: int,
    units: int,
    layers: int,
    noise: float,
    drop_rate: float,
):
    """Words (N, T) and their characters (N, T, C), both padded with 0 → (N, T, 2·units), what stands around each."""
    real = ops.not_equal(words, 0)
    spelling = keras.Sequential(
        [
            keras_layers.Embedding(character_vocabulary, character_embedding, mask_zero=True, name="embedding"),
            keras_layers.Bidirectional(keras_layers.LSTM(character_units), name="bilstm"),
        ],
        name="characters",
    )
    x = keras_layers.Concatenate(name="word")(
        [
            keras_layers.Embedding(word_vocabulary, word_embedding, name="word_embedding")(words),
            PerStep(spelling, 2 * character_units, name="spelling")(characters),
        ]
    )  # (N, T, word_embedding + 2·character_units)
    if noise:
        x = keras_layers.GaussianNoise(noise, name="noise")(x)
    for i in range(1, layers + 1):
        if drop_rate:
            x = keras_layers.Dropout(drop_rate, name=f"drop{i}")(x)
        forth_and_back = keras_layers.Bidirectional(keras_layers.LSTM(units, return_sequences=True), name=f"bilstm{i}")
        x = forth_and_back(x, mask=real)
    return keras_layers.Dropout(drop_rate, name="drop_top")(x) if drop_rate else x


def bilstm_tagger(
    *,
    word_vocabulary: int = 20_000,
    character_vocabulary: int = 128,
    num_tags: int = 17,
    word_embedding: int = 64,
    character_embedding: int = 100,
    character_units: int = 100,
    units: int = 100,
    layers: int = 1,
    noise: float = 0.2,
    drop_rate: float = 0.0,
    name: str = "bilstm_tagger",
) -> keras.Model:
    """A tag for each word, from the word, its spelling and what stands on both sides.

    Takes a dictionary of "words", int32 (N, T), and "characters", int32 (N, T, C), padded with 0 on the right; returns
    logits (N, T, num_tags), which mean nothing where there is padding. A word is its embedding beside the last states
    of a bidirectional LSTM over its characters. `layers` bidirectional LSTMs of `units` each way run over the words,
    with Gaussian noise of deviation `noise` on their input and dropout at `drop_rate` around each.

    Raises `UsageError` for sizes below 1.

    Differences from Plank et al.: no byte embeddings and no auxiliary loss; the initialisation is Keras's, which the
    paper leaves open; `drop_rate`, off by default, is Lample et al.'s.
    """
    sizes = {
        "word_vocabulary": word_vocabulary,
        "character_vocabulary": character_vocabulary,
        "num_tags": num_tags,
        "word_embedding": word_embedding,
        "character_embedding": character_embedding,
        "character_units": character_units,
        "units": units,
        "layers": layers,
    }
    for key, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name}: {key} is {value!r}; it must be a whole number of at least 1.")
    del sizes["num_tags"]
    words = keras.Input((None,), dtype="int32", name="words")
    characters = keras.Input((None, None), dtype="int32", name="characters")
    x = encoder(words, characters, **sizes, noise=noise, drop_rate=drop_rate)  # (N, T, 2·units)
    logits = keras_layers.Dense(num_tags, name="tags")(x)
    return keras.Model({"words": words, "characters": characters}, logits, name=name)
