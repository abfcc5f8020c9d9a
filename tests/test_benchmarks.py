"""The contenders of the training benchmarks run, with few steps; their speed is not tested."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from conftest import need, run_python

CONTESTS = ("char_rnn", "convolutions", "distribution", "import_time", "mnist_training", "sequences", "vision")


@pytest.mark.parametrize("name", CONTESTS)
def test_arguments(name):
    script = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    assert f"python benchmarks/{name}.py" in run_python(script, "--help").stdout
    wrong = run_python(script, "--bogus")
    assert wrong.returncode == 2 and "unrecognized arguments: --bogus" in wrong.stderr
    if name in ("convolutions", "vision"):
        wrong = run_python(script, "resnet20", "resnet21")
        assert wrong.returncode == 2 and "there is no 'resnet21'; choose from resnet20" in wrong.stderr


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a benchmark by name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    yield importlib.import_module
    # In vision.py a contender, which has a process of its own, makes TensorFlow compute exports in bfloat16.
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})


@pytest.mark.full
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["tagger", "translator"])
def test_sequences(benchmark, monkeypatch, tmp_path, kind, precision):
    module = benchmark("sequences")
    monkeypatch.setattr(module, "EPOCHS", 2)
    monkeypatch.setattr(module, "STEPS", 2)
    (rate,) = getattr(module, f"engine_{kind}")(str(tmp_path), precision)
    assert rate > 0


@pytest.mark.full
def test_char_rnn(benchmark, monkeypatch):
    need("tiny_shakespeare")
    module = benchmark("char_rnn")
    monkeypatch.setattr(module, "EPOCHS", 2)
    monkeypatch.setattr(module, "LARGE", (3, 512, 5, 2))  # the net that is measured, as its sizes have a name
    monkeypatch.setattr(module, "SMALL", (1, 8, 10, 2))
    rates = module.engine("bfloat16")
    assert len(rates) == 4 and all(min(values) > 0 for values in rates.values())
    assert min(module.predict_loop("float32")["sampling, batch 1"]) > 0


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
def test_vision(benchmark, monkeypatch, name):
    need("cifar10")
    module = benchmark("vision")
    monkeypatch.setattr(module, "EPOCHS", 2)
    side, _, _, *others = module.NETS[name]
    monkeypatch.setitem(module.NETS, name, (side, 4, 2, *others))
    rates = module.engine(name, "bfloat16")
    assert min(rates["training"]) > 0 and min(rates["inference"]) > 0


@pytest.mark.full
def test_convolutions(benchmark, monkeypatch):
    module = benchmark("convolutions")
    monkeypatch.setattr(module, "SECONDS", 0.001)
    monkeypatch.setitem(module.NETS, "resnet20", (2, [(8, 3, 4, 1, 2), (8, 4, 6, 2, 1)]))
    assert all(value > 0 for value in module.tensorflow("resnet20", "float32"))


@pytest.mark.full
def test_mnist_training(benchmark, monkeypatch, tmp_path):
    need("mnist")
    module = benchmark("mnist_training")
    module.prepare("lenet5_mnist", str(tmp_path / "data.npz"))
    with np.load(tmp_path / "data.npz") as data:
        assert data["images"].shape == (60000, 32, 32, 1) and len(data["planes"]) == 60
    monkeypatch.setattr(module, "EPOCHS", 1)
    assert min(module.engine("mlp_mnist") + module.plain("mlp_mnist", False, 50)) > 0


@pytest.mark.full
def test_distribution(benchmark, monkeypatch):
    need("cifar10")
    module = benchmark("distribution")
    monkeypatch.setattr(module, "EPOCHS", 2)
    monkeypatch.setattr(module, "STEPS", 10)
    monkeypatch.setattr(module, "BATCH", 8)
    one = {"strategy": "one_device"}
    assert min(module.engine(one) + module.bare(one)) > 0


@pytest.mark.full
def test_time_to_accuracy(benchmark):
    need("mnist")
    ((minutes, accuracy),) = benchmark("time_to_accuracy").engine("lenet5_modern_mnist", "float32", 0, 1)
    assert minutes > 0 and accuracy > 0.9
