"""`resnet20` served by gRPC beside the same network in ONNX Runtime, in its own process: images a second.

    pip install onnxruntime tf2onnx
    python benchmarks/serving_onnx.py --batch-size 32

They have the same cores, take turns, and get batches of the same size. ONNX Runtime gets pixels that are already
preprocessed, because tf2onnx does not know the operation that resizes; the server does this, too, and moves the images
over a socket. A session of TensorFlow that reads the export's variables is measured, too. Their probabilities are
compared first. ONNX Runtime has one caller, because its call uses all cores; the others have three.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from serving_clients import ROOT, server
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

EXPORT = ROOT / "saved_models" / "resnet20_cifar10_fast"
CALLERS = 3  # as many as give the most images per second


def onnx_session(path: Path):
    """The network in ONNX Runtime, from pixels as it takes them to probabilities."""
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        sys.exit(f"{error.name} is not installed: pip install onnxruntime tf2onnx")
    import zoo
    from zoo.exports.read import read_recipe
    from zoo.tasks.image_classification.scoring import logits_of

    logging.disable(logging.WARNING)
    network, views = zoo.build("resnet20", weights=str(EXPORT / "1")), read_recipe(EXPORT / "1")["test_views"]
    signature = [tf.TensorSpec((None, 32, 32, 3), tf.float32, "inputs")]

    @tf.function(input_signature=signature)
    def probabilities(inputs):
        return {"probabilities": tf.nn.softmax(logits_of(network, inputs, views))}

    tf2onnx.convert.from_function(probabilities, input_signature=signature, opset=17, output_path=str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between its turns it must cost nothing
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def rate(call, batch: int, seconds: float, threads: int) -> float:
    """Rows a second with that many callers."""
    ends = time.perf_counter() + seconds

    def loop(_: int) -> int:
        count = 0
        while time.perf_counter() < ends:
            call()
            count += batch
        return count

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        rows = sum(pool.map(loop, range(threads)))
    return rows / (time.perf_counter() - begin)


def tensorflow_session(pixels: np.ndarray):
    """The export in a session, with variables: a call, and the share of its operations' time in convolutions."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    session = v1.Session(graph=graph)
    with graph.as_default():
        signature = v1.saved_model.loader.load(session, ["serve"], str(EXPORT / "1")).signature_def["serving_default"]
    feed, fetch = signature.inputs["images"].name, signature.outputs["probabilities"].name
    call = session.make_callable(fetch, [feed])
    call(pixels)
    metadata, options = v1.RunMetadata(), v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
    session.run(fetch, {feed: pixels}, options, metadata)
    times = [
        ("Conv2D" in node.timeline_label.partition("= ")[2].partition("(")[0], node.all_end_rel_micros)
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
    ]
    return lambda: call(pixels), sum(time for found, time in times if found) / sum(time for _, time in times)


def main() -> None:
    """Prints each round, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (options.batch_size, 32, 32, 3), np.uint8)
    preprocess = tf.saved_model.load(str(EXPORT / "1")).signatures["preprocess"]
    inputs = preprocess(images=tf.constant(pixels))["inputs"].numpy()
    request = predict_pb2.PredictRequest(output_filter=["probabilities"])
    request.model_spec.name = EXPORT.name
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(pixels))
    with tempfile.TemporaryDirectory() as folder, server(EXPORT) as (_, _, _, address):
        session = onnx_session(Path(folder) / "resnet20.onnx")
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            served = tf.make_ndarray(stub.Predict(request).outputs["probabilities"])
            np.testing.assert_allclose(session.run(None, {"inputs": inputs})[0], served, atol=1e-4)
            alone, convolutions = tensorflow_session(pixels)
            calls = {
                "ONNX Runtime": (lambda: session.run(None, {"inputs": inputs}), 1),
                "TensorFlow's session": (alone, CALLERS),
                "zoo serve": (lambda: stub.Predict(request), CALLERS),
            }
            rates: dict[str, list[float]] = {name: [] for name in calls}
            for number in range(-1, options.rounds):  # the first is to warm up
                for name, (call, threads) in calls.items():
                    found = rate(call, options.batch_size, options.seconds, threads)
                    if number >= 0:
                        rates[name].append(found)
                        print(f"{name}: {found:,.0f} images/s", flush=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"medians at batch {options.batch_size} on {os.cpu_count()} cores:")
    for name, median in medians.items():
        print(f"  {name}: {median:,.0f} images/s, {median / medians['ONNX Runtime']:.2f} of ONNX Runtime's")
    print(f"convolutions take {convolutions:.0%} of the time of TensorFlow's operations")


if __name__ == "__main__":
    main()
