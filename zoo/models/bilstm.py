"""Bidirectional LSTMs over words and their characters: a tag for each word (Plank, Søgaard & Goldberg, ACL 2016; Lample
et al., NAACL 2016), or a label for a text (with the pooling of Conneau et al., EMNLP 2017)."""

import math
from collections.abc import Mapping

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.errors import UsageError
from zoo.layers import LSTM, CharacterEncoder, ReverseSequence
from zoo.models.common import check_sizes, dropped


def character_model(sizes: Mapping[str, int]) -> keras.Model:
    """Characters of words (N, C), padded with 0, → (N, 2·units): the last states of an LSTM in each direction."""
    characters = keras.Input((None,), dtype="int32", name="letters")
    length = ops.sum(ops.cast(ops.not_equal(characters, 0), "int32"), axis=1)
    table = keras_layers.Embedding(sizes["character_vocabulary"], sizes["character_embedding"], name="embedding")
    x = table(characters)
    reversed_x = ReverseSequence(name="turned")(x, length)
    valid = ops.not_equal(characters, 0)
    states = [
        LSTM(sizes["character_units"], name=name)(inputs, mask=valid)
        for name, inputs in (("forward", x), ("backward", reversed_x))
    ]
    return keras.Model(characters, keras_layers.Concatenate(name="both")(states), name="characters")


def encoder(name: str, sizes: Mapping[str, int], *, noise: float, drop_rate: float):
    """Two inputs, words (N, T) and their characters (N, T, C), both padded with 0, and the contextual vector of each
    word (N, T, 2·units).

    For the backward LSTM each row is reversed within its own length, so that neither LSTM needs a mask, which costs
    time at every step.
    """
    if not isinstance(noise, (int, float)) or not 0 <= noise < math.inf:
        raise UsageError(f"{name}: noise is {noise!r}; it must be a standard deviation of at least 0.")
    words = keras.Input((None,), dtype="int32", name="words")
    characters = keras.Input((None, None), dtype="int32", name="characters")
    length = ops.sum(ops.cast(ops.not_equal(words, 0), "int32"), axis=1)
    table = keras_layers.Embedding(sizes["word_vocabulary"], sizes["word_embedding"], name="word_embedding")
    spelling = CharacterEncoder(character_model(sizes), 2 * sizes["character_units"], name="spelling")(characters)
    x = keras_layers.Concatenate(name="word")([table(words), spelling])
    if noise:
        x = keras_layers.GaussianNoise(noise, name="noise")(x)  # (N, T, word_embedding + 2·character_units)
    for i in range(1, sizes["layers"] + 1):
        x = dropped(x, drop_rate, name=f"drop{i}")
        reversed_x = ReverseSequence(name=f"turned{i}")(x, length)
        forward = LSTM(sizes["units"], return_sequences=True, name=f"forward{i}")(x)
        backward = LSTM(sizes["units"], return_sequences=True, name=f"backward{i}")(reversed_x)
        backward = ReverseSequence(name=f"turned_back{i}")(backward, length)
        x = keras_layers.Concatenate(name=f"both{i}")([forward, backward])  # (N, T, 2·units)
    x = dropped(x, drop_rate, name="drop_top")
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
    """A tag for each word, from the word, its characters and the words before and after it.

    Takes a dictionary of "words", int32 (N, T), and "characters", int32 (N, T, C), padded with 0 on the right; returns
    logits (N, T, num_tags), which are undefined at padding. A word is represented by its embedding and the last states
    of a bidirectional LSTM over its characters, concatenated. `layers` bidirectional LSTMs with `units` per direction
    run over the words, with Gaussian noise of standard deviation `noise` on their input and dropout with `drop_rate`
    before and after each.

    Raises `UsageError` for sizes below 1 and for negative `noise`.

    Differences from Plank et al.: no byte embeddings and no auxiliary loss. The initialisation, which the paper does
    not state, is that of Keras. `drop_rate`, 0 by default, is from Lample et al.
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
    inputs, x = encoder(name, sizes, noise=noise, drop_rate=drop_rate)
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
    """A label for a text: the encoder of the tagger, max pooling over the words and a dense layer.

    Takes the inputs of `bilstm_tagger`; returns logits (N, num_classes). Each text must have at least one word.

    Raises `UsageError` for sizes below 1 and for negative `noise`.

    Differences from Conneau et al.: words are represented with their characters, as in the tagger, and one dense layer
    follows the pooling.
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
    inputs, x = encoder(name, sizes, noise=noise, drop_rate=drop_rate)
    valid = ops.not_equal(inputs["words"], 0)[..., None]
    x = ops.max(ops.where(valid, x, -1.0), axis=1)  # (N, 2·units); the outputs of an LSTM are above −1
    return keras.Model(inputs, keras_layers.Dense(num_classes, name="classes")(x), name=name)
