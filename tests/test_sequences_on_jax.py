"""Sequence models give the same outputs on Keras's JAX backend, because their files use Keras only."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo

NETS = {  # one of each file
    "bilstm_tagger": {"word_vocabulary": 9, "character_vocabulary": 9, "units": 3, "character_units": 2},
    "char_rnn": {"vocabulary_size": 9, "units": 4},
    "seq2seq": {"source_vocabulary": 9, "target_vocabulary": 9, "embedding": 4, "units": 4, "maxout": 3},
    "seq2seq_sutskever": {"source_vocabulary": 9, "target_vocabulary": 9, "embedding": 4, "units": 4},
}
JAX = """
import json, sys
import keras
import numpy as np
import zoo

for name, arguments in json.loads(sys.argv[1]).items():
    data = np.load(f"{sys.argv[2]}/{name}.npz")
    model = zoo.build(name, **arguments)
    model.set_weights([data[f"arr_{i}"] for i in range(len(model.weights))])
    outputs = model({key.removeprefix("in_"): data[key] for key in data.files if key.startswith("in_")})
    for i, output in enumerate(keras.tree.flatten(outputs)):
        np.testing.assert_allclose(output, data[f"out_{i}"], atol=1e-5, err_msg=name)
    print("equal", name)
assert "tensorflow" not in sys.modules, "a model file imports TensorFlow"
"""


@pytest.mark.full
def test_sequence_models_give_the_same_outputs_on_jax(tmp_path):
    rng = np.random.default_rng(0)
    for name, arguments in NETS.items():
        model = zoo.build(name, **arguments)
        inputs = {}
        for key, tensor in model.input.items():
            shape = (2, *(size or 5 for size in tensor.shape[1:]))
            whole = tensor.dtype.startswith("int")
            inputs[key] = rng.integers(1, 9, shape).astype("int32") if whole else rng.normal(size=shape).astype("f")
        outputs = {f"out_{i}": output for i, output in enumerate(keras.tree.flatten(model(inputs)))}
        given = {f"in_{key}": value for key, value in inputs.items()}
        np.savez(tmp_path / f"{name}.npz", *model.get_weights(), **given, **outputs)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", JAX, json.dumps(NETS), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert result.stdout.split()[1::2] == list(NETS), result.stderr[-3000:]
    assert result.returncode == 0, result.stderr[-3000:]
