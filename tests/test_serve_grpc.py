"""The gRPC services, called through `tensorflow-serving-api`'s stubs."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving import LENET, make_service, save_examples, save_small
from zoo.serve.grpc_api import GrpcServer
from zoo.serve.settings import Limits


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    save_small(base / "small", 7)
    save_examples(base / "examples" / "2")
    service = make_service([base, LENET], Limits(body_bytes=100_000, rows=50))
    server = GrpcServer(service, "127.0.0.1:0", threads=4)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(1).wait()
    service.manager.stop()


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(signature="", version=None, name="small", outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(value if hasattr(value, "dtype") and not hasattr(value, "shape") else proto(value))
    return request


def proto(value):
    return tf.make_tensor_proto(value)


FLOATS = np.array([1.0, 2.0], np.float32)


def test_predict(stub):
    response = stub.Predict(predict(x=FLOATS))
    assert response.model_spec.version.value == 7 and response.model_spec.signature_name == "serving_default"
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [8.0, 9.0])
    response = stub.Predict(predict("half", version=7, x=FLOATS.astype(np.float16)))
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["x"]), FLOATS)
    response = stub.Predict(predict("strings", text=np.array([b"a\xff"], object)))
    assert tf.make_ndarray(response.outputs["text"]).tolist() == [b"a\xff"]
    images = np.zeros((3, 28, 28, 1), np.uint8)
    response = stub.Predict(predict(name="lenet5_mnist", images=images))
    assert tf.make_ndarray(response.outputs["probabilities"]).shape == (3, 10)


def test_output_filter(stub):
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.array([3], np.int32)}
    response = stub.Predict(predict("two", outputs=["twice"], **inputs))
    assert list(response.outputs) == ["twice"] and tf.make_ndarray(response.outputs["twice"]) == [6]
    assert set(stub.Predict(predict("two", **inputs)).outputs) == {"sums", "twice"}


def repeated(shape, dtype=1):
    """A tensor of that shape, given by one value."""
    tensor = tf.make_tensor_proto([1.0])
    tensor.dtype = dtype
    del tensor.tensor_shape.dim[:]
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict(name="none", x=FLOATS), "NOT_FOUND", r"Latest\(none\)"),
        (predict(name="", x=FLOATS), "INVALID_ARGUMENT", "Missing model name"),
        (predict(version=8, x=FLOATS), "NOT_FOUND", r"Specific\(small, 8\)"),
        (predict("none", x=FLOATS), "FAILED_PRECONDITION", "not found in signature def"),
        (predict(), "INVALID_ARGUMENT", "Missing but required: {x}"),
        (predict(x=FLOATS, z=FLOATS), "INVALID_ARGUMENT", "Sent extra: {z}"),
        (predict(x=FLOATS.astype(np.float64)), "INVALID_ARGUMENT", "expects float32; found DT_DOUBLE"),
        (predict(x=FLOATS[None]), "INVALID_ARGUMENT", "has shape"),
        (predict(x=np.zeros(51, np.float32)), "INVALID_ARGUMENT", "the limit is 50 rows"),
        (predict(x=FLOATS, outputs=["z"]), "INVALID_ARGUMENT", "alias not found in signature: z"),
        (predict(x=FLOATS, outputs=["y", "y"]), "INVALID_ARGUMENT", "duplicate"),
        (predict("positive", x=-FLOATS), "INVALID_ARGUMENT", "x must be 0 or more"),
        (predict(x=repeated([10**6])), "INVALID_ARGUMENT", "does not accept"),
        (predict(x=repeated([10**9, 10**9, 10**9])), "INVALID_ARGUMENT", "does not accept"),
        (predict(x=repeated([-1])), "INVALID_ARGUMENT", "does not accept"),
        (predict(x=repeated([2], dtype=20)), "INVALID_ARGUMENT", "DT_RESOURCE"),
        (predict(x=np.zeros(100_000, np.float32)), "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_wrong_requests(stub, request_, code, message):
    with pytest.raises(grpc.RpcError, match=message) as caught:
        stub.Predict(request_)
    assert caught.value.code().name == code


def test_content_that_does_not_fill_its_shape(stub):
    short = tf.make_tensor_proto(FLOATS)
    short.tensor_content = b"123"
    with pytest.raises(grpc.RpcError, match="a number of values that does not fit"):
        stub.Predict(predict(x=short))


def test_values_that_are_missing_are_empty(stub):
    texts = tf.make_tensor_proto(np.array([b"a", b"b"], object))
    del texts.string_val[:]
    response = stub.Predict(predict("strings", text=texts))
    assert tf.make_ndarray(response.outputs["text"]).tolist() == [b"", b""]
    numbers = tf.make_tensor_proto(FLOATS)
    numbers.tensor_content = b""
    np.testing.assert_array_equal(tf.make_ndarray(stub.Predict(predict(x=numbers)).outputs["y"]), [7.0, 7.0])


def test_deadlines_end_the_computation(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(predict("slow", steps=np.array([10**9], np.int32)), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert tf.make_ndarray(stub.Predict(predict("slow", steps=np.array([10], np.int32))).outputs["done"]) == [10]


def test_metadata_and_status(stub, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "small"
    answer = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures) and answer.model_spec.version.value == 7
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == tf.float32.as_datatype_enum
    request.metadata_field[:] = ["weights"]
    with pytest.raises(grpc.RpcError, match="weights is not supported"):
        stub.GetModelMetadata(request)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "small"
    (version,) = models.GetModelStatus(status).model_version_status
    assert (version.version, version.state, version.status.error_code) == (7, version.AVAILABLE, 0)
    status.model_spec.name = "none"
    with pytest.raises(grpc.RpcError) as caught:
        models.GetModelStatus(status)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_classify_and_regress(stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "examples"
    for value in (1.5, 2.0):
        features = request.input.example_list_with_context.examples.add().features.feature
        features["a"].float_list.value.append(value)
    request.input.example_list_with_context.context.features.feature["b"].float_list.value.append(0.25)
    rows = stub.Classify(request).result.classifications
    found = [[(entry.label, entry.score) for entry in row.classes] for row in rows]
    assert found == [[("a", 1.5), ("b", 0.25)], [("a", 2.0), ("b", 0.25)]]
    regression = regression_pb2.RegressionRequest(input=request.input)
    regression.model_spec.name, regression.model_spec.signature_name = "examples", "sum"
    assert [row.value for row in stub.Regress(regression).result.regressions] == [1.75, 2.25]
    with pytest.raises(grpc.RpcError, match="Input is empty"):
        stub.Regress(regression_pb2.RegressionRequest(model_spec=regression.model_spec))
    regression.model_spec.name = "small"
    regression.model_spec.signature_name = ""
    with pytest.raises(grpc.RpcError, match="method_name to be tensorflow/serving/regress"):
        stub.Regress(regression)


def test_api_keys(tmp_path):
    save_small(tmp_path / "small", 1)
    service = make_service([tmp_path], keys=["secret"])
    server = GrpcServer(service, "127.0.0.1:0", threads=2)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for metadata in (None, [("authorization", "Bearer wrong")], [("x-api-key", "")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(predict(x=FLOATS), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        for metadata in ([("authorization", "Bearer secret")], [("x-api-key", "secret")]):
            assert stub.Predict(predict(x=FLOATS), metadata=metadata).outputs
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    server.stop(1).wait()
    service.manager.stop()
