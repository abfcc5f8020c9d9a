"""TensorFlow Serving's gRPC services: PredictionService and ModelService, and the standard health service."""

import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from zoo.errors import ZooError
from zoo.serve import examples
from zoo.serve.errors import Code, RequestError, invalid
from zoo.serve.manager import Version
from zoo.serve.service import Service
from zoo.serve.signatures import Signature, Tensor

STATUS = {status.value[0]: status for status in grpc.StatusCode}
OVERHEAD = 2**16  # of a message around its tensors


class GrpcServer:
    """The services on a port. `start` and `stop` may be called once."""

    def __init__(self, service: Service, address: str, threads: int):
        limits = service.limits
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=limits.concurrent,
            options=[
                ("grpc.max_receive_message_length", limits.body_bytes + OVERHEAD),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a port in use is an error
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(service), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(service), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ZooError(f"Cannot listen on {address}: the port is in use; choose another port with --grpc-port.")

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()
        for name in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, seconds: float) -> Any:
        """Refuses new calls; calls in progress have `seconds` to finish. Returns an event, set when all have ended."""
        self._health.enter_graceful_shutdown()
        return self._server.stop(seconds)


@contextmanager
def _answering(service: Service, context: grpc.ServicerContext) -> Iterator[None]:
    """A call that requires an API key and whose errors become gRPC status codes."""
    try:
        sent = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        service.keys.check(sent.get("authorization"), sent.get("x-api-key"))
        yield
    except RequestError as error:
        code, message = error.code, error.message
    except Exception:
        if not context.is_active():  # `abort` raises an exception, too
            raise
        traceback.print_exc(file=sys.stderr)
        code, message = Code.INTERNAL, "Internal error"
    else:
        return
    context.abort(STATUS[code.number], message)


def _chosen(spec: model_pb2.ModelSpec) -> tuple[int | None, str | None]:
    kind = spec.WhichOneof("version_choice")
    return (spec.version.value if kind == "version" else None, spec.version_label if kind == "version_label" else None)


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata."""

    def __init__(self, service: Service):
        self._service = service

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        def inputs(signature: Signature) -> dict[str, np.ndarray]:
            for alias in request.output_filter:
                if alias not in signature.outputs:
                    known = ", ".join(signature.outputs)
                    raise invalid(
                        f"output tensor alias not found in signature: {alias[:100]} "
                        f"Outputs expected to be in the set {{{known}}}."
                    )
            if len(set(request.output_filter)) < len(request.output_filter):
                raise invalid("duplicate output tensor alias in output_filter")
            size = self._service.limits.body_bytes
            return {
                name: decode(name, value, signature.inputs[name], size) if name in signature.inputs else np.empty(0)
                for name, value in request.inputs.items()
            }

        with _answering(self._service, context):
            outputs, spec = self._run(request.model_spec, "Predict", inputs, context, request.output_filter)
            response = predict_pb2.PredictResponse(model_spec=spec)
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        with _answering(self._service, context):
            outputs, spec = self._run(request.model_spec, "Classify", _examples("classify", request.input), context)
            response = classification_pb2.ClassificationResponse(model_spec=spec)
            for row in examples.results("classify", outputs):
                classes = response.result.classifications.add().classes
                for label, score in row:
                    classes.add(label=label, score=score)
            return response

    def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        with _answering(self._service, context):
            outputs, spec = self._run(request.model_spec, "Regress", _examples("regress", request.input), context)
            response = regression_pb2.RegressionResponse(model_spec=spec)
            for value in examples.results("regress", outputs):
                response.result.regressions.add(value=value)
            return response

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        with _answering(self._service, context):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name[:100]} is not supported")
            model = self._service.manager.model(request.model_spec.name)
            with model.use(*_chosen(request.model_spec)) as version:
                response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(model.name, version))
                signatures = dict(version.servable.signature_defs)
                response.metadata["signature_def"].Pack(
                    get_model_metadata_pb2.SignatureDefMap(signature_def=signatures)
                )
            return response

    def _run(
        self,
        spec: model_pb2.ModelSpec,
        api: str,
        inputs: Callable[[Signature], dict[str, np.ndarray]],
        context: grpc.ServicerContext,
        outputs: Any = (),
    ) -> tuple[dict[str, np.ndarray], model_pb2.ModelSpec]:
        service = self._service
        deadline = service.deadline(context.time_remaining())
        with service.counted(spec.name, api, "GRPC"), service.admitted():
            model = service.manager.model(spec.name)
            with model.use(*_chosen(spec)) as version:
                signature = version.servable.signature(spec.signature_name)
                arrays = service.prepare(signature, inputs(signature))
                result = service.run(model.name, version, signature, arrays, deadline, api, tuple(outputs))
                return result, _spec(model.name, version, signature.name)


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, service: Service):
        self._service = service

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _answering(self._service, context):
            return self._service.manager.model(request.model_spec.name).statuses(*_chosen(request.model_spec))


def _spec(name: str, version: Version, signature: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature)
    spec.version.value = version.number
    return spec


def decode(name: str, value: Any, tensor: Tensor, most: int) -> np.ndarray:
    """A TensorProto as an array. Raises `RequestError` for another type, and for a shape of more than `most`
    bytes: a message with a single value can describe a large tensor."""
    if value.dtype != tensor.dtype.as_datatype_enum:
        raise invalid(f"Input {name!r} expects {tensor.dtype.name}; found {_type_name(value.dtype)}.")
    sizes = [dim.size for dim in value.tensor_shape.dim]
    count = 1
    for size in sizes:
        count *= max(size, 0)
    if value.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or count * tensor.dtype.size > most:
        raise invalid(f"Input {name!r} has a shape that this server does not accept: {sizes[:8]}.")
    try:
        array = tf.make_ndarray(value)
    except (ValueError, TypeError) as error:
        raise invalid(f"Input {name!r} has a number of values that does not fit its shape {sizes[:8]}.") from error
    if array.dtype == object:  # if values are missing, TensorFlow adds a text that is not bytes
        for index, text in np.ndenumerate(array):
            array[index] = text if isinstance(text, bytes) else str(text).encode()
    return array


def _type_name(number: int) -> str:
    try:
        return types_pb2.DataType.Name(number)
    except ValueError:
        return str(number)


def _examples(verb: str, request: input_pb2.Input) -> Callable[[Signature], dict[str, np.ndarray]]:
    def inputs(signature: Signature) -> dict[str, np.ndarray]:
        examples.check_method(signature, verb)
        kind = request.WhichOneof("kind")
        if kind == "example_list":
            rows = list(request.example_list.examples)
        elif kind == "example_list_with_context":
            rows = []
            for example in request.example_list_with_context.examples:
                row = tf.train.Example()
                row.CopyFrom(request.example_list_with_context.context)
                row.MergeFrom(example)
                rows.append(row)
        else:
            rows = []
        if not rows:
            raise invalid("Input is empty.")
        return {next(iter(signature.inputs)): examples.serialize(rows)}

    return inputs
