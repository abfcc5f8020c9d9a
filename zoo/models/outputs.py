"""Other outputs of a built model: probabilities instead of logits, and intermediate feature maps."""

from collections.abc import Sequence

import keras

from zoo.errors import UsageError, nearest


def with_activation(model: keras.Model, activation: str) -> keras.Model:
    """The model with an activation after its logits, in a new last layer named "predictions".

    `activation` is a name that Keras knows, such as "softmax" or "sigmoid"; it is computed in at least single
    precision. Of a model with a dictionary of outputs, "predictions" replaces "logits" and the other outputs stay. The
    new model shares its layers and weights with `model`; a loss on its output must not expect logits.

    Raises `UsageError` for an activation that Keras does not know and for a model without logits: one whose output is
    a map (`include_top=False`), or a dictionary without "logits".
    """
    outputs = model.output
    logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if not isinstance(logits, keras.KerasTensor) or (logits.ndim == 4 and not isinstance(outputs, dict)):
        found = sorted(outputs) if isinstance(outputs, dict) else f"an output of shape {getattr(logits, 'shape', None)}"
        raise UsageError(f"{model.name}: classifier_activation needs logits; the model has {found}.")
    try:
        dtype = keras.backend.result_type(logits.dtype, "float32")
        layer = keras.layers.Activation(activation, dtype=dtype, name="predictions")
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{model.name}: classifier_activation is {activation!r}, which Keras does not know; "
            "use a name of keras.activations such as 'softmax' or 'sigmoid'."
        ) from error
    predictions = layer(logits)
    if isinstance(outputs, dict):
        predictions = {
            ("predictions" if key == "logits" else key): (predictions if key == "logits" else value)
            for key, value in outputs.items()
        }
    return keras.Model(model.input, predictions, name=model.name)


def with_features(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """A model that returns the outputs of the layers `names`: a dictionary from each name to its output.

    Layers that these outputs do not depend on are left out. The new model shares its layers and weights with `model`.

    Raises `UsageError` for no names, a name twice and a name that is not a layer of the model, naming the nearest ones.
    """
    if not isinstance(names, (str, list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{model.name}: features is {names!r}; it must be names of layers.")
    names = [names] if isinstance(names, str) else list(names)
    layers = {layer.name: layer for layer in model.layers}
    for name in names:
        if name not in layers:
            raise UsageError(f"{model.name} has no layer {name!r}. {nearest(str(name), layers)}")
    if not names or len(set(names)) < len(names):
        raise UsageError(f"{model.name}: features is {tuple(names)}; name at least one layer, and each only once.")
    return keras.Model(model.input, {name: layers[name].output for name in names}, name=model.name)
