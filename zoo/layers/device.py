"""Which backend and devices the layers run on."""

import keras


def on_cpus() -> bool:
    """Whether Keras runs on TensorFlow and TensorFlow sees only CPUs."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def in_graph_on_cpus() -> bool:
    """Whether a TensorFlow graph is being traced and TensorFlow sees only CPUs."""
    if not on_cpus():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()
