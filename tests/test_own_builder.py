"""Builders of one's own in every form that Python has: they work, or one line says what is missing."""

import functools

import keras
import pytest

import zoo
from conftest import image_recipe, run
from zoo.cli.flags import parse


def net(shape, classes, width=4):
    images = keras.Input(shape, name="images")
    x = keras.layers.Dense(width, name="hidden")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(classes, name="classes")(x), name="net")


def without_annotations(input_shape=(8, 8, 1), num_classes=10, width=4):
    return net(input_shape, num_classes, width)


def with_annotations_as_text(
    *, input_shape: "tuple[int, int, int]" = (8, 8, 1), num_classes: "int" = 10, width: "int" = 4
):
    return net(input_shape, num_classes, width)


def without_defaults(input_shape, num_classes):
    return net(input_shape, num_classes)


def any_arguments(**arguments):
    return net(arguments["input_shape"], arguments["num_classes"])


def unfit_arguments(**arguments):
    return net((8, 8, 1), 12)


def without_shape(*, num_classes=10):
    return net((8, 8, 1), num_classes)


def without_classes(*, input_shape=(8, 8, 1)):
    return net(input_shape, 10)


def of_another_shape(*, num_classes=10):
    return net((9, 9, 1), num_classes)


def ending_in_softmax(*, num_classes=10):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, keras.layers.Dense(num_classes, activation="softmax")(x))


def ending_in_a_layer_of_softmax(*, num_classes=10):
    model = without_shape(num_classes=num_classes)
    return keras.Model(model.input, keras.layers.Softmax()(model.output))


def ending_in_an_operation(*, num_classes=10):
    model = without_shape(num_classes=num_classes)
    return keras.Model(model.input, keras.ops.softmax(model.output))


def ending_in_a_model_with_softmax(*, num_classes=10):
    inputs = keras.Input((8, 8, 1))
    head = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(num_classes), keras.layers.Activation("softmax")]
    )
    return keras.Model(inputs, head(inputs))


def no_model(*, num_classes=10):
    return None


class Subclass(keras.Model):
    def __init__(self, num_classes=10):
        super().__init__()
        self.classes = keras.layers.Dense(num_classes)

    def call(self, images):
        return self.classes(images)


@pytest.fixture
def registered():
    """Registers a builder under a name that no other test has."""

    def register(builder, **card):
        name = f"own_{sum(other.startswith('own_') for other in zoo.list_models())}"
        zoo.register(name, builder, **card)
        return name

    return register


def own_recipe(name, **changes):
    return image_recipe(name=name, model=name, limit_steps=1, **changes)


@pytest.mark.parametrize(
    ("builder", "card"),
    [
        (without_annotations, {}),
        (with_annotations_as_text, {}),
        (without_defaults, {"input_shape": (8, 8, 1)}),
        (without_shape, {"input_shape": (8, 8, 1)}),
        (functools.partial(without_annotations, width=5), {}),
        (lambda num_classes=10: net((8, 8, 1), num_classes), {"input_shape": (8, 8, 1)}),
        ("test_own_builder:without_annotations", {"input_shape": (8, 8, 1)}),
    ],
)
def test_a_builder_that_has_what_is_needed_trains(builder, card, registered, tmp_path):
    name = registered(builder, **card)
    recipe, _ = parse(own_recipe(name), ["--batch-size", "3"])
    assert run(recipe, run_dir=tmp_path / "run").model.output_shape == (None, 10)
    assert zoo.build(name, num_classes=3).output_shape == (None, 3)
    assert zoo.describe(name).input_shape == (8, 8, 1)


def test_any_arguments_are_those_that_are_given(registered, tmp_path):
    name = registered(any_arguments, input_shape=(8, 8, 1))
    run(own_recipe(name, model_args={"input_shape": (8, 8, 1)}), run_dir=tmp_path / "run")


@pytest.mark.parametrize(
    "builder", [without_annotations, with_annotations_as_text, functools.partial(without_annotations)]
)
def test_arguments_are_flags_of_the_type_of_their_defaults(builder, registered):
    recipe, _ = parse(own_recipe(registered(builder)), ["--model.width", "6", "--model.input-shape", "9", "8", "1"])
    assert dict(recipe.model_args) == {"width": 6, "input_shape": (9, 8, 1)}


@pytest.mark.parametrize(
    ("builder", "card", "said"),
    [
        (without_shape, {}, "the input_shape of own_.* is not known; give it to zoo.register"),
        (without_defaults, {}, "the input_shape of own_.* is not known; give it to zoo.register"),
        (without_classes, {}, "takes no argument 'num_classes', which the data decides .num_classes=10 here."),
        (unfit_arguments, {"input_shape": (8, 8, 1)}, r"output of shape .None, 12.; for 10 classes it must be logits"),
        (of_another_shape, {"input_shape": (8, 8, 1)}, r"takes images of shape .9, 9, 1., but .* say .8, 8, 1."),
        (no_model, {"input_shape": (8, 8, 1)}, "returns NoneType; it must return a keras.Model"),
        *(
            (builder, {"input_shape": (8, 8, 1)}, "ends in a softmax; it must return logits, of which the loss takes")
            for builder in (
                ending_in_softmax,
                ending_in_a_layer_of_softmax,
                ending_in_an_operation,
                ending_in_a_model_with_softmax,
            )
        ),
        (Subclass, {"input_shape": (8, 8, 1)}, "returns a Subclass without known inputs; .* functional model"),
    ],
)
def test_what_is_missing_is_said_in_one_line(builder, card, said, registered, tmp_path):
    with pytest.raises(zoo.UsageError, match=said):
        run(own_recipe(registered(builder, **card)), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_argument_without_a_default_is_named(registered):
    with pytest.raises(zoo.UsageError, match="needs the argument 'input_shape'"):
        zoo.build(registered(without_defaults))
    with pytest.raises(zoo.UsageError, match="needs the argument 'num_classes'"):
        zoo.build(registered(without_defaults, input_shape=(8, 8, 1)))


@pytest.mark.parametrize("builder", [3, None, "tiny_net", "package.module", "a b:c"])
def test_what_is_no_builder_is_refused_at_once(builder):
    with pytest.raises(zoo.UsageError, match="must be a function that returns a keras.Model, or its name"):
        zoo.register("own_nothing", builder)
    assert "own_nothing" not in zoo.list_models()
