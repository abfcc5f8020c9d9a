"""The table of layers against numbers worked out by hand."""

import keras
import pytest
from keras import layers

import zoo
from conftest import zoo as run_zoo
from zoo.cli.commands import dispatch
from zoo.errors import UsageError
from zoo.models.summary import layer_table


def table(model):
    return {row.name: row for row in layer_table(model)}


def fields(model):
    return {name: row.receptive_field[0] for name, row in table(model).items() if row.receptive_field}


def test_receptive_fields_of_vgg16():
    # 3×3 convolutions add 2 jumps, 2×2 poolings add 1 and double the jump: 1, 2, 4, 8, 16.
    found = fields(zoo.build("vgg16_cifar"))
    assert [found[f"conv{block}_1"] for block in range(1, 6)] == [3, 10, 24, 60, 132]
    assert [found[name] for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")] == [5, 14, 40, 92, 196]
    assert [found[f"pool{block}"] for block in range(1, 6)] == [6, 16, 44, 100, 212]
    assert "fc" not in found


def test_rows_of_lenet5():
    rows = table(zoo.build("lenet5"))
    assert {name: rows[name].receptive_field for name in ("images", "C1", "S2", "C3", "S4", "C5")} == {
        "images": (1, 1),
        "C1": (5, 5),
        "S2": (6, 6),
        "C3": (14, 14),  # 6 + 4·2
        "S4": (16, 16),
        "C5": (32, 32),  # 16 + 4·4: the whole image
    }
    assert rows["F6"].receptive_field is rows["OUTPUT"].receptive_field is None
    weighted = [rows[name] for name in ("C1", "S2", "C3", "S4", "C5", "F6", "OUTPUT")]
    assert [row.parameters for row in weighted] == [156, 12, 1_516, 32, 48_120, 10_164, 0]
    # Connections without biases: 28·28·6·25, 10·10·60·25, 120·400, 84·120.
    assert [row.macs for row in weighted] == [117_600, 0, 150_000, 0, 48_000, 10_080, 0]
    assert (rows["C3"].type, rows["C3"].output_shape) == ("PartialConv2D", (10, 10, 16))


def test_receptive_fields_of_resnet20():
    found = fields(zoo.build("resnet20"))
    # Stage 1: 3 + 6·2; stage 2: + 1·2 + 5·4; stage 3: + 1·4 + 5·8, jumps 1, 2 and 4.
    assert [found[name] for name in ("conv1", "conv2_3_out", "conv3_1_conv1", "conv3_3_out", "conv4_3_out")] == [
        3,
        15,
        17,
        37,
        81,
    ]
    assert found["conv4_1_shortcut"] == 37


def test_the_sums_are_the_cards():
    for name in ("mobilenet", "inception_v1", "alexnet_two_tower", "bilstm_tagger", "char_rnn", "airbench94"):
        rows, card = layer_table(zoo.build(name)), zoo.describe(name)
        assert sum(row.macs for row in rows) == card.macs, name
        assert sum(row.parameters for row in rows) == card.parameters, name


def test_a_layer_that_runs_once_per_sentence_counts_in_full():
    model = zoo.build("seq2seq", source_vocabulary=9, target_vocabulary=11, embedding=3, units=5, maxout=2, alignment=4)
    rows = table(model)
    assert rows["first_state"].macs == 5 * 5
    assert rows["encoder_forward"].macs == 5 * 15 and rows["encoder_forward_input"].macs == 3 * 15
    context, cell = 10 * 15, 5 * 15
    assert rows["decoder"].macs == 3 * 15 + context + cell + 5 * 4 + 10 * 4 + 4  # word, …, query, key, score
    assert rows["words"].macs == 2 * 11
    assert rows["source_embedding"].macs == rows["maxout"].macs == 0


@pytest.mark.parametrize(
    ("make", "field", "macs"),
    [
        (lambda: layers.Conv2D(5, (3, 1), dilation_rate=2), (5, 1), 12 * 16 * 3 * 4 * 5),
        (lambda: layers.Conv2D(4, 3, groups=2, padding="same"), (3, 3), 16 * 16 * 9 * 2 * 4),
        (lambda: layers.DepthwiseConv2D(3, strides=2), (3, 3), 7 * 7 * 9 * 4),
        (lambda: layers.SeparableConv2D(5, 3), (3, 3), 14 * 14 * (9 * 4 + 4 * 5)),
        (lambda: layers.AveragePooling2D(3, 2), (3, 3), 0),
        (lambda: layers.GlobalAveragePooling2D(keepdims=True), None, 0),
        (lambda: layers.Conv2DTranspose(5, 3, strides=2), None, 16 * 16 * 9 * 4 * 5),
        (lambda: layers.UpSampling2D(2), None, 0),
        (lambda: layers.ZeroPadding2D(2), (1, 1), 0),
        (lambda: layers.Dense(5), (1, 1), 16 * 16 * 4 * 5),
        (lambda: layers.Flatten(), None, 0),
    ],
)
def test_one_layer(make, field, macs):
    images = keras.Input((16, 16, 4))
    layer = make()
    row = layer_table(keras.Model(images, layer(images)))[-1]
    assert (row.name, row.receptive_field, row.macs) == (layer.name, field, macs)


def test_the_receptive_field_after_a_global_layer_is_none():
    images = keras.Input((16, 16, 4))
    x = layers.Conv2D(4, 3, padding="same")(images)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(images, layers.Conv2D(2, 1, name="last")(layers.Multiply()([x, gate])))
    assert table(model)["last"].receptive_field is None


def test_unknown_heights_and_widths_count_as_one():
    rows = table(zoo.build("resnet20", input_shape=(None, None, 3)))
    assert rows["conv1"].output_shape == (None, None, 16) and rows["conv1"].macs == 432
    assert rows["conv4_3_out"].receptive_field == (81, 81)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "lenet5",  # images
            [
                "C3         PartialConv2D  10 × 10 × 16  14 × 14               1,516  150,000",
                "OUTPUT     EuclideanRBF   10            –                         0        0",
                "sum                                                          60,000  325,680",
            ],
        ),
        (
            "char_rnn",  # sequences: "any" for the number of steps, and several outputs
            [
                "rnn1      LSTM        any × 128, 128, 128  –                    99,328   98,816",
                "sum                                                            239,297  238,208",
            ],
        ),
    ],
)
def test_show_prints_the_layers(name, lines, capsys):
    assert dispatch(["show", name, "--layers"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(str(zoo.describe(name)))
    for line in lines:
        assert line in printed.splitlines(), printed


def test_show_prints_nothing_but_the_layers():
    shown = run_zoo("show", "softmax_regression", "--layers")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert ["sum", "7,850", "7,840"] in [line.split() for line in shown.stdout.splitlines()]


def test_show_has_layers_of_models_only(capsys):
    with pytest.raises(UsageError, match="'lenet5_mnist' is a recipe.*Try zoo show lenet5."):
        dispatch(["show", "lenet5_mnist", "--layers"])
