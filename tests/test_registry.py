"""Names, cards and builders."""

import inspect
import json
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import zoo
from conftest import run_python
from zoo import registry
from zoo.recipe import list_recipes


def test_listing_and_describing_load_neither_tensorflow_nor_keras():
    code = """
import sys, json, zoo
zoo.list_models("le*"), zoo.describe("lenet5"), str(zoo.describe("lenet5")), zoo.Recipe, zoo.ImageRecipe
print(json.dumps(sorted(name for name in ("tensorflow", "keras", "numpy", "tyro", "rich") if name in sys.modules)))
"""
    assert json.loads(run_python(code=code).stdout) == []


def test_import_loads_the_standard_library_alone():
    code = "import sys; import zoo; print([name for name in sys.modules if name.startswith('zoo.')])"
    assert run_python(code=code).stdout.strip() == "['zoo.serialization']"


def test_a_folder_called_zoo_does_not_hide_the_package(tmp_path):
    """As where Python starts in the folder above a clone called zoo."""
    (tmp_path / "zoo" / "recipes").mkdir(parents=True)
    done = run_python(code="import zoo; print(zoo.describe('lenet').name)", cwd=tmp_path)
    assert done.stdout.strip() == "lenet5", done.stderr


def test_list_models_filters():
    assert zoo.list_models("lenet5*") == ["lenet5", "lenet5_modern"]
    assert zoo.list_models("enet5") == ["lenet5", "lenet5_modern"] and "mobilenet" in zoo.list_models("lenet")
    assert "resnet20" in zoo.list_models("resnet") and "resnet20" not in zoo.list_models("net20*")
    assert zoo.list_models(family="mlp") == ["mlp", "mlp_nielsen"]
    assert "lenet5" in zoo.list_models(task="image_classification")
    assert zoo.list_models("no such*") == []
    assert set(zoo.list_models(pretrained=True)) < set(zoo.list_models())
    with pytest.raises(zoo.UsageError, match="'image_clasification'.*'image_classification'"):
        zoo.list_models(task="image_clasification")


def test_a_family_stands_for_its_default():
    assert zoo.describe("lenet").name == "lenet5"
    assert zoo.build("mlp", hidden=(3,)).name == "mlp"


def test_unknown_names_and_arguments_name_the_nearest():
    with pytest.raises(zoo.UsageError, match="'lenet6'.*'lenet5'"):
        zoo.build("lenet6")
    with pytest.raises(zoo.UsageError, match="'hiden'.*'hidden'"):
        zoo.build("mlp", hiden=(3,))
    with pytest.raises(zoo.UsageError, match="weights 'mnits'"):
        zoo.build("lenet5", weights="mnits")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_classes": 0}, "num_classes is 0.*at least 1"),
        ({"num_classes": 2.5}, "num_classes is 2.5"),
        ({"input_shape": (28, 28)}, "input_shape is .28, 28.*height, width, channels"),
        ({"input_shape": (28, 0, 1)}, "input_shape is"),
        ({"drop_rate": 1.0}, "drop_rate is 1.0.*below 1"),
        ({"hidden": (0,)}, "hidden is .0,..*positive"),
        ({"hidden": (True,)}, "hidden is .True,..*positive"),
        ({"hidden": ""}, "hidden is ''.*positive"),
        ({"dtype": "float31"}, "dtype is 'float31'"),
        ({"dtype": "int32"}, "dtype is 'int32'; it must be a Keras dtype policy"),
        ({"include_top": "no"}, "include_top is 'no'; it must be True or False"),
        ({"input_drop_rate": "0.5"}, "input_drop_rate is '0.5'; it must be a finite number"),
        ({"pretrained": "no"}, "pretrained is 'no'; it must be True or False"),
        ({"weights": True}, "weights is True; it must be a tag .mnist., 'default', or the path of an export"),
        ({"weights": ""}, "weights is ''; it must be a tag"),
        ({"weights": "x" * 300}, "has no weights 'xxx"),
        ({"features": 5}, "features is 5; it must be names of layers"),
        ({"include_top": False, "classifier_activation": "softmax"}, "without its top the model has no logits"),
    ],
)
def test_invalid_values_are_named(config, said):
    with pytest.raises(zoo.UsageError, match=said):
        zoo.build("mlp", **config)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("resnet50", {"depth": 18}, "resnet50 with depth=18 is the model 'resnet18'"),
        ("vgg16", {"config": "A"}, "vgg16 with config='A' is the model 'vgg11'"),
        ("vgg16", {"config": ["A"]}, r"config is \['A'\]; it must be a string"),
        ("resnet20", {"depth": 20.0}, "depth is 20.0; it must be a whole number"),
    ],
)
def test_a_variant_is_built_by_its_own_name(name, arguments, said):
    with pytest.raises(zoo.UsageError, match=said):
        zoo.build(name, **arguments)


def test_numpy_numbers_are_numbers():
    one = np.int64(1)
    model = zoo.build(
        "mlp", num_classes=5 * one, input_shape=(4 * one, 4, 1), hidden=[3 * one], drop_rate=np.float32(0.3)
    )
    assert model.output_shape == (None, 5)


def test_models_have_the_names_they_are_given():
    inputs = keras.Input((32, 32, 1))
    both = keras.layers.Average()([zoo.build("lenet5_modern", name=name)(inputs) for name in "ab"])
    assert keras.Model(inputs, both).output_shape == (None, 10)


def test_building_in_threads_leaves_the_configuration():
    keras.config.set_image_data_format("channels_first")
    try:
        with ThreadPoolExecutor(4) as threads:
            models = list(threads.map(lambda _: zoo.build("lenet5_modern"), range(12)))
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert {model.output_shape for model in models} == {(None, 10)}


def test_register_adds_a_builder_of_ones_own():
    def tiny(*, units: int = 3, name: str = "tiny"):
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)], name=name)

    zoo.register("tiny", tiny, summary="mine")
    assert zoo.build("tiny", units=5).output_shape == (None, 5)
    assert "tiny" in zoo.list_models() and zoo.describe("tiny").summary == "mine"
    for taken in ("tiny", "lenet5", "lenet"):
        with pytest.raises(zoo.UsageError, match="already taken"):
            zoo.register(taken, tiny)
    with pytest.raises(zoo.UsageError, match="'sumary'.*'summary'"):
        zoo.register("other", tiny, sumary="")


def test_builders_that_cannot_work_are_refused():
    def by_position(input_shape, /, num_classes=2):
        return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])

    with pytest.raises(zoo.UsageError, match="The builder of 'net' is a model; it must be the function that builds"):
        zoo.register("net", by_position((2, 2, 1)))
    for shape in (28, (28, 28), (28, 28, 0), "28"):
        with pytest.raises(
            zoo.UsageError, match="The input_shape of 'net' is .*; it must be .height, width, channels."
        ):
            zoo.register("net", by_position, input_shape=shape)
    zoo.register("net", by_position, input_shape=(2, 2, 1))
    with pytest.raises(zoo.UsageError, match="The builder of 'net' takes 'input_shape' by position only; omit the /"):
        zoo.build("net")
    zoo.register("sequence", by_position, task="mine", input_shape=(None,))


def test_a_card_whose_builder_is_missing_says_so():
    zoo.register("ghost", "zoo.models.ghost:ghost")
    with pytest.raises(zoo.ZooError, match="'ghost'.*zoo.models.ghost:ghost.*missing"):
        zoo.build("ghost")


@pytest.mark.parametrize("name", zoo.list_models())
def test_cards_are_complete_and_builders_documented(name):
    card = zoo.describe(name)
    for field in ("title", "authors", "year", "venue", "link", "summary", "input_shape", "parameters", "macs"):
        assert getattr(card, field), field
    assert name in str(card) and card.title in str(card)
    builder = registry.builder_of(card)
    assert inspect.getdoc(builder)
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(builder).parameters.values())
    assert set(card.recipes) <= set(list_recipes())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] if registry.describe(name).parameters > 5e6 else [])
        for name in registry.list_models()
    ],
)
def test_weight_paths_are_the_same_for_each_build(name):
    one, again = ([weight.path for weight in zoo.build(name).weights] for _ in range(2))
    assert one == again and len(set(one)) == len(one)


def test_a_float64_build_has_float64_weights_and_leaves_the_policy():
    before = keras.config.dtype_policy().name
    assert zoo.build("perceptron", dtype="float64").weights[0].dtype == "float64"
    assert keras.config.dtype_policy().name == before


def test_reasons_are_short():
    from zoo.errors import reason

    graph = RuntimeError("{{function_node __wrapped__SaveV2}} /a/b.tmp; No space left on device [Op:SaveV2]\nmore")
    assert reason(graph) == "No space left on device"
    assert reason(FileNotFoundError(2, "No such file or directory", "x")) == "No such file or directory"
    assert reason(KeyError()) == "KeyError"
