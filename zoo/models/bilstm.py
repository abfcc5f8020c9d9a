"""BiLSTMs over words and their characters: a tag for each word (Plank, Søgaard & Goldberg, ACL 2016; Lample et al.,
NAACL 2016), or a label for a text (with the pooling of Conneau et al., EMNLP 2017)."""

from collections.abc import Mapping

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.layers import LSTM, FromTheEnd, PerWord
from zoo.models.parts import check_sizes


def spelling(sizes: Mapping[str, int]) -> keras.Model:
    """Spelled words (N, C), padded with 0, to (N, 2·units): what an LSTM in each direction ends with."""
    letters = keras.Input((None,), dtype="int32", name="letters")
    real = ops.not_equal(letters, 0)
    x = keras_layers.Embedding(sizes["character_vocabulary"], sizes["character_embedding"], name="embedding")(letters)
    turned = FromTheEnd(name="turned")(x, ops.sum(ops.cast(real, "int32"), axis=1))
    ends = [
        LSTM(sizes["character_units"], name=name)(read, mask=real)
        for name, read in (("forward", x), ("backward", turned))
    ]
    return keras.Model(letters, keras_layers.Concatenate(name="both")(ends), name="characters")


def encoder(sizes: Mapping[str, int], *, noise: float, drop_rate: float):
    """The inputs, words (N, T) and their characters (N, T, C), both padded with 0, and (N, T, 2·units), what stands
    around each word.

    Rows are turned round by their own length, so that the LSTMs run without a mask, which costs at every step.
    """
    words = keras.Input((None,), dtype="int32", name="words")
    characters = keras.Input((None, None), dtype="int32", name="characters")
    length = ops.sum(ops.cast(ops.not_equal(words, 0), "int32"), axis=1)
    table = keras_layers.Embedding(sizes["word_vocabulary"], sizes["word_embedding"], name="word_embedding")
    spelled = PerWord(spelling(sizes), 2 * sizes["character_units"], name="spelling")(characters)
    x = keras_layers.Concatenate(name="word")([table(words), spelled])
    if noise:
        x = keras_layers.GaussianNoise(noise, name="noise")(x)  # (N, T, word_embedding + 2·character_units)
    for i in range(1, sizes["layers"] + 1):
        if drop_rate:
            x = keras_layers.Dropout(drop_rate, name=f"drop{i}")(x)
        turned = FromTheEnd(name=f"turned{i}")(x, length)
        forward = LSTM(sizes["units"], return_sequences=True, name=f"forward{i}")(x)
        backward = LSTM(sizes["units"], return_sequences=True, name=f"backward{i}")(turned)
        backward = FromTheEnd(name=f"turned_back{i}")(backward, length)
        x = keras_layers.Concatenate(name=f"both{i}")([forward, backward])  # (N, T, 2·units)
    if drop_rate:
        x = keras_layers.Dropout(drop_rate, name="drop_top")(x)
    return {"words": words, "characters": characters}, x


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
    sizes = check_sizes(
        name,
        word_vocabulary=word_vocabulary,
        character_vocabulary=character_vocabulary,
        num_tags=num_tags,
        word_embedding=word_embedding,
        character_embedding=character_embedding,
        character_units=character_units,
        units=units,
        layers=layers,
    )
    inputs, x = encoder(sizes, noise=noise, drop_rate=drop_rate)
    logits = keras_layers.Dense(num_tags, name="tags")(x)  # (N, T, num_tags)
    return keras.Model(inputs, logits, name=name)


def bilstm_classifier(
    *,
    word_vocabulary: int = 20_000,
    character_vocabulary: int = 128,
    num_classes: int = 2,
    word_embedding: int = 64,
    character_embedding: int = 100,
    character_units: int = 100,
    units: int = 100,
    layers: int = 1,
    noise: float = 0.2,
    drop_rate: float = 0.0,
    name: str = "bilstm_classifier",
) -> keras.Model:
    """A label for a text: the tagger's encoder, and of each of its numbers the greatest over all words.

    Takes what `bilstm_tagger` takes; returns logits (N, num_classes). A text needs a word.

    Raises `UsageError` for sizes below 1.

    Differences from Conneau et al.: words are read with their spelling, and one dense layer follows.
    """
    sizes = check_sizes(
        name,
        word_vocabulary=word_vocabulary,
        character_vocabulary=character_vocabulary,
        num_classes=num_classes,
        word_embedding=word_embedding,
        character_embedding=character_embedding,
        character_units=character_units,
        units=units,
        layers=layers,
    )
    inputs, x = encoder(sizes, noise=noise, drop_rate=drop_rate)
    real = ops.not_equal(inputs["words"], 0)[..., None]
    x = ops.max(ops.where(real, x, -1.0), axis=1)  # (N, 2·units); an LSTM's outputs lie above −1
    return keras.Model(inputs, keras_layers.Dense(num_classes, name="classes")(x), name=name)
