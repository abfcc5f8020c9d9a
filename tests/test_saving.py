"""Each family's `.keras` file loads after `import zoo` in a new process; each committed export loads by its tag."""

import importlib
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
import zoo.layers
from conftest import ROOT, run_python
from zoo.weights.exports import read_weight

SIZES = {"source_vocabulary": 9, "target_vocabulary": 9, "embedding": 4, "units": 4}
WORDS = {"word_vocabulary": 9, "character_vocabulary": 9, "units": 3, "character_units": 2}
# A small model of each builder, and of the variants with layers of their own.
MODELS = {
    "airbench94": {"input_shape": (25, 25, 3)},
    "alexnet_two_tower": {"input_shape": (63, 63, 3), "include_top": False},
    "all_cnn_c": {},
    "bilstm_classifier": WORDS,
    "bilstm_tagger": WORDS,
    "char_rnn": {"units": 4},
    "inception_small": {},
    "inception_v1": {"input_shape": (65, 65, 3), "num_classes": 3, "aux_heads": True},
    "inception_v3": {"input_shape": (75, 75, 3), "num_classes": 3},
    "lenet5": {},
    "lenet5_modern": {},
    "mlp": {},
    "mlp_nielsen": {},
    "mobilenet": {"input_shape": (32, 32, 3), "alpha": 0.25},
    "nin_cifar": {},
    "perceptron": {},
    "resnet18": {"input_shape": (32, 32, 3), "num_classes": 3},
    "resnet20": {},
    "seq2seq": SIZES,
    "seq2seq_luong": SIZES,
    "seq2seq_no_attention": SIZES,
    "seq2seq_sutskever": SIZES,
    "softmax_regression": {},
    "vgg11_bn": {"input_shape": (32, 32, 3), "include_top": False},
    "vgg16_cifar": {},
    "xception": {"input_shape": (71, 71, 3), "num_classes": 3},
}
# Those that take seconds to build.
LARGE = ("inception_v1", "inception_v3", "mobilenet", "resnet18", "xception")
LOAD = """
import json, sys
import keras
import numpy as np

folder, names = sys.argv[1], json.loads(sys.argv[2])
load = globals().get("load", keras.models.load_model)
failed = {}
for name in names:
    try:
        model = load(f"{folder}/{name}.keras")
        data = np.load(f"{folder}/{name}.npz")
        inputs = {key.removeprefix("in_"): data[key] for key in data.files if key.startswith("in_")}
        outputs = model(inputs if isinstance(model.input, dict) else inputs["images"], training=False)
        for i, output in enumerate(keras.tree.flatten(outputs)):
            np.testing.assert_allclose(output, data[f"out_{i}"], rtol=1e-4, atol=1e-5)
        assert not [layer.name for layer in model.layers if isinstance(layer, keras.layers.Lambda)]
        keras.backend.clear_session()
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failed))
"""


def random_inputs(model):
    rng, inputs = np.random.default_rng(0), {}
    for tensor in keras.tree.flatten(model.input):
        shape = (2, *(size or 5 for size in tensor.shape[1:]))
        whole = tensor.dtype.startswith("int")
        inputs[tensor.name] = rng.integers(1, 9, shape).astype("int32") if whole else rng.normal(size=shape).astype("f")
    return inputs


@pytest.fixture(scope="module")
def saved():
    """Writes a `.keras` file of each model asked for, with inputs and outputs in an `.npz` file; returns the folder."""
    with tempfile.TemporaryDirectory() as folder:

        def write(names):
            for name in names:
                if Path(f"{folder}/{name}.npz").exists():
                    continue
                model = zoo.build(name, **MODELS[name])
                inputs = random_inputs(model)
                outputs = model(inputs if isinstance(model.input, dict) else inputs["images"], training=False)
                model.save(f"{folder}/{name}.keras")
                arrays = {f"in_{key}": value for key, value in inputs.items()}
                arrays |= {f"out_{i}": output for i, output in enumerate(keras.tree.flatten(outputs))}
                np.savez(f"{folder}/{name}.npz", **arrays)
                keras.backend.clear_session()
            return folder

        yield write


def failures(first, saved, names, **env):
    """What `keras.models.load_model` could not load, in a new process that begins with the lines `first`."""
    result = run_python(saved(names), json.dumps(names), code=f"{first}\n{LOAD}", env=env, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


small_and_large = pytest.mark.parametrize(
    "names",
    [
        pytest.param([name for name in MODELS if name not in LARGE], id="small"),
        pytest.param(list(LARGE), id="large", marks=pytest.mark.full),
    ],
)


def test_every_builder_is_in_the_table():
    assert {zoo.describe(name).builder for name in MODELS} == {zoo.describe(n).builder for n in zoo.list_models()}


def test_every_registered_class_is_imported_with_the_layers():
    for path in [*(ROOT / "zoo").glob("models/*.py"), *(ROOT / "zoo").glob("layers/*.py")]:
        importlib.import_module(f"zoo.{path.parent.name}.{path.stem}".removesuffix(".__init__"))
    registered = {
        value.__name__
        for name, value in keras.saving.get_custom_objects().items()
        if value.__module__.startswith(("zoo.layers.", "zoo.models."))
    }
    assert registered and registered <= set(zoo.layers.__all__)


@small_and_large
def test_saved_models_load_in_another_process(saved, names):
    assert failures("import zoo", saved, names) == {}


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("import keras\nimport zoo", marks=pytest.mark.full),  # as in other test files
        "import tensorflow\nimport zoo\ntensorflow.keras.Sequential",
        "import importlib.util, zoo\nassert importlib.util.find_spec('keras').loader.get_source('keras')",
    ],
    ids=["keras first", "tensorflow's keras", "looked for"],
)
def test_the_order_of_imports_does_not_matter(first, saved):
    assert failures(first, saved, ["lenet5", "bilstm_tagger"]) == {}


@pytest.mark.full
def test_saved_models_load_on_jax(saved):
    names = ["lenet5", "airbench94", "char_rnn", "seq2seq"]  # few: JAX compiles every initialiser for every shape
    assert failures("import zoo", saved, names, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu") == {}


@small_and_large
def test_models_are_the_same_where_keras_is_configured_for_channels_first(saved, names, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"image_data_format": "channels_first"}))
    built = f"""
import zoo, keras
arguments = {MODELS!r}

def load(path):
    name = path.rpartition("/")[2].removesuffix(".keras")
    model, loaded = zoo.build(name, **arguments[name]), keras.models.load_model(path)
    assert [w.path for w in model.weights] == [w.path for w in loaded.weights]
    assert model.input_shape == loaded.input_shape and keras.config.image_data_format() == "channels_first"
    model.set_weights(loaded.get_weights())
    return model
"""
    names = [name for name in names if zoo.describe(name).task == "image_classification"]
    assert failures(built, saved, names, KERAS_HOME=str(tmp_path)) == {}


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] if name in LARGE else []) for name in MODELS]
)
def test_copies_keep_the_policy_and_the_paths(name, dtype, tmp_path):
    model = zoo.build(name, dtype=dtype, **MODELS[name])
    model.save(tmp_path / "model.keras")
    ones = {key: np.ones([size or 2 for size in tensor.shape], "int32") for key, tensor in named(model.input).items()}
    inputs = ones if isinstance(model.input, dict) else ones["input"]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for copy in (loaded, keras.models.clone_model(model)):
        assert [(w.path, w.dtype) for w in copy.weights] == [(w.path, w.dtype) for w in model.weights]
        assert policies(copy) == policies(model)
    for ours, theirs in zip(*map(keras.tree.flatten, (loaded(inputs), model(inputs))), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(keras.ops.cast(ours, "float64"), keras.ops.cast(theirs, "float64"))


def policies(model):
    """The policy of each layer but the inputs, whose policy Keras does not save and which compute nothing."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return {layer.name: layer.dtype_policy.name for layer in layers}


def named(tensors):
    return tensors if isinstance(tensors, dict) else {"input": tensors}


def test_without_the_zoo_keras_names_the_class_that_it_lacks(saved):
    found = failures("", saved, ["mlp", "nin_cifar", "all_cnn_c", "resnet20", "bilstm_tagger", "seq2seq"])
    assert {"mlp", "nin_cifar", "all_cnn_c"}.isdisjoint(found)  # nothing but layers of Keras
    assert "resnet20" in found and "bilstm_tagger" in found
    for name, message in found.items():
        assert "Could not locate class" in message and "zoo>" in message, name


def test_the_import_hook_removes_itself():
    code = """
import importlib, sys
import zoo
import keras
import tensorflow

def hooks():
    return [finder for finder in sys.meta_path if type(finder).__module__ == "zoo.serialization"]

assert not hooks()
assert keras.__loader__ is keras.__spec__.loader and type(keras.__loader__).__module__ != "zoo.serialization"
assert "zoo>LSTM" in keras.saving.get_custom_objects()
importlib.reload(zoo)
assert not hooks()
print("clean")
"""
    result = run_python(code=code)
    assert result.stdout.split()[-1:] == ["clean"], result.stderr[-3000:]


def test_a_backend_that_cannot_be_imported_is_an_error_of_keras():
    result = run_python(code="import zoo, keras", env={"KERAS_BACKEND": "no_such_backend"})
    assert result.stderr.splitlines()[-1] == "ValueError: Unable to import backend : no_such_backend"


EXPORTS = [
    (name, tag, folder)
    for name in zoo.list_models(pretrained=True)
    for tag, folder in zoo.describe(name).weights.items()
    if folder != "keras-applications"
]


def test_every_committed_export_has_a_tag():
    assert {folder for _, _, folder in EXPORTS} == {path.parent.name for path in (ROOT / "saved_models").glob("*/1")}


@pytest.mark.parametrize(("name", "tag", "folder"), EXPORTS)
def test_a_committed_export_has_every_weight_under_its_path(name, tag, folder):
    folder = ROOT / "saved_models" / folder / "1"
    keys = json.loads((folder / "assets.extra" / "weights.json").read_text(encoding="utf-8"))
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    model = zoo.build(name, weights=tag)
    assert {weight.path for weight in model.weights} == set(keys)
    for weight in model.weights:
        np.testing.assert_array_equal(weight.numpy(), read_weight(reader, keys[weight.path]))
