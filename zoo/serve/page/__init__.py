"""The page at `/`: the served models, and a form to try each."""

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoo.serve import json_format
from zoo.serve.servable import Servable
from zoo.serve.service import Service

FILES = {
    "/": ("index.html", "text/html"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/board.js": ("board.js", "text/javascript"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/tasks.js": ("tasks.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
CARD = ("name", "task", "summary", "title", "authors", "year", "venue", "link", "licence", "metrics")


def page_routes(service: Service, guarded: Callable) -> list[Route]:
    """The files of the page, and what it asks the server."""

    def file_route(path: str, name: str, kind: str) -> Route:
        content = (resources.files(__name__) / name).read_bytes()

        async def answer(request: Request) -> Response:
            return Response(content, headers=HEADERS, media_type=kind)

        return Route(path, answer)

    async def models(request: Request) -> Response:
        served = [entry for name in sorted(service.manager.models) if (entry := describe(service, name))]
        return Response(json_format.dumps({"models": served}), media_type="application/json")

    return [*(file_route(path, *file) for path, file in FILES.items()), Route("/page/models", guarded(models))]


def describe(service: Service, name: str) -> Mapping[str, Any] | None:
    """What the page shows of a model; None where no version of it is available."""
    version = service.manager.models[name].newest()
    servable = version.servable if version else None
    if servable is None:
        return None
    signatures = {
        key: {
            "inputs": {key: _tensor(tensor) for key, tensor in signature.inputs.items()},
            "outputs": {key: _tensor(tensor) for key, tensor in signature.outputs.items()},
        }
        for key, signature in servable.signatures.items()
    }
    card = {key: version.card[key] for key in CARD if key in (version.card or {})}
    return {
        "name": name,
        "version": version.number,
        "card": card,
        "signatures": signatures,
        "weights": servable.weights,
        "class_names": class_names(servable),
        "limits": {"length": service.limits.length, "text_bytes": service.limits.text_bytes},
    }


def _tensor(tensor: Any) -> dict:
    shape = None if tensor.shape is None else [-1 if size is None else size for size in tensor.shape]
    return {"dtype": tensor.dtype.name, "shape": shape}


def class_names(servable: Servable) -> list[str] | None:
    """The names of the classes that `labels` are chosen from; None where they cannot be told.

    A signature answers with the best label alone. The names stand in the graph, as the one constant of as many
    strings as there are probabilities or scores; the page compares them with each answer.
    """
    sizes = {
        tensor.shape[-1]
        for signature in servable.signatures.values()
        if "labels" in signature.outputs
        for name, tensor in signature.outputs.items()
        if name in ("probabilities", "scores") and tensor.shape
    }
    found = [names for names in servable.string_constants if len(names) in sizes]
    return list(found[0]) if len(found) == 1 else None
