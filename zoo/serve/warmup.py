"""Warm-up: requests stored with a SavedModel, which run once before it replaces the old version."""

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from zoo.serve.servable import Servable

PATH = "assets.extra/tf_serving_warmup_requests"
MOST = 1000


def warm_up(servable: Servable, folder) -> int:
    """Runs the recorded requests and returns their number.

    Raises `RequestError` if one fails in the model, `ValueError` if a record is not a request, and
    TensorFlow's errors where the file cannot be read.
    """
    path = folder / PATH
    if not path.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(path)).take(MOST).as_numpy_iterator():
        count += 1
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:
            raise ValueError(f"warm-up record {count} is not a PredictionLog") from error
        if log.WhichOneof("log_type") != "predict_log":
            continue  # other kinds of requests need no warm-up
        request = log.predict_log.request
        signature = servable.signature(request.model_spec.signature_name)
        arrays = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        servable.run(signature, signature.complete(arrays), tuple(request.output_filter))
    return count
