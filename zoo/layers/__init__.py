"""Layers that Keras does not have, in Keras 3 for any backend; one topic per file.

Every class is registered under the package name "zoo", so that `keras.models.load_model` finds it. A class that a saved
model can contain must be imported here.
"""

from zoo.layers.attention import AttentionDecoder
from zoo.layers.characters import CharacterEncoder
from zoo.layers.device import on_cpus
from zoo.layers.gated import GatedCell, GatedRNN
from zoo.layers.gelu import GELU
from zoo.layers.lenet import EuclideanRBF, PartialConv2D, ScaledTanh, Subsampling2D
from zoo.layers.maxout import Maxout
from zoo.layers.normalization import BatchNormalization, LocalResponseNormalization
from zoo.layers.recurrent import LSTM, Orthogonal
from zoo.layers.reverse import ReverseSequence
from zoo.layers.shortcut import IdentityShortcut
from zoo.layers.stacked import StackedDecoder
from zoo.layers.whitening import IdentityKernel, WhiteningConv2D, whitening_filters

__all__ = [
    "GELU",
    "LSTM",
    "AttentionDecoder",
    "BatchNormalization",
    "CharacterEncoder",
    "EuclideanRBF",
    "GatedCell",
    "GatedRNN",
    "IdentityKernel",
    "IdentityShortcut",
    "LocalResponseNormalization",
    "Maxout",
    "Orthogonal",
    "PartialConv2D",
    "ReverseSequence",
    "ScaledTanh",
    "StackedDecoder",
    "Subsampling2D",
    "WhiteningConv2D",
    "on_cpus",
    "whitening_filters",
]
