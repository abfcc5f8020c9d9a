"""Finding, loading, switching and unloading the versions of the models."""

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2

from zoo.errors import ZooError, reason
from zoo.serve.errors import Code, RequestError, public_message
from zoo.serve.folders import Base, card_of, fingerprint, verify
from zoo.serve.servable import Servable
from zoo.serve.settings import Batching, VersionPolicy
from zoo.serve.warmup import warm_up

State = get_model_status_pb2.ModelVersionStatus.State


@dataclass
class Version:
    """A version folder with its state. `users` is the number of requests that it is processing."""

    number: int
    folder: Path
    state: int = State.START
    error: str = ""
    servable: Servable | None = None
    card: Mapping | None = None
    seen: tuple = ()
    users: int = 0
    idle: threading.Event = field(default_factory=threading.Event)


class Model:
    """A folder of versions under one name."""

    def __init__(
        self,
        name: str,
        base: Base,
        policy: VersionPolicy,
        labels: Mapping[str, int],
        batching: Batching,
        request_seconds: float = 60.0,
    ):
        self.name, self.base, self.policy, self.labels, self.batching = name, base, policy, labels, batching
        self.request_seconds = request_seconds  # a request may take that long, and its version stays loaded for it
        self.versions: dict[int, Version] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use(self, number: int | None = None, label: str | None = None) -> Iterator[Version]:
        """The requested version, by default the newest available, which stays loaded while the block runs.

        Raises `RequestError` if it is not served.
        """
        with self._lock:
            version = self._find(number, label)
            version.users += 1
        try:
            yield version
        finally:
            with self._lock:
                version.users -= 1
                if not version.users:
                    version.idle.set()

    def _find(self, number: int | None, label: str | None) -> Version:
        if label is not None:
            if label not in self.labels:
                raise RequestError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label[:100]}")
            number = self.labels[label]
        available = [n for n, version in self.versions.items() if version.state == State.AVAILABLE]
        if number is None and available:
            return self.versions[max(available)]
        if number in available:
            return self.versions[number]
        wanted = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
        raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def newest(self) -> Version | None:
        """The version for requests that name none; None if no version is available."""
        with self._lock:
            available = [n for n, version in self.versions.items() if version.state == State.AVAILABLE]
            return self.versions[max(available)] if available else None

    def statuses(self, number: int | None = None, label: str | None = None):
        """`GetModelStatusResponse`, newest version first. Raises `RequestError` if no such version is known."""
        if label is not None:
            if label not in self.labels:
                raise RequestError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label[:100]}")
            number = self.labels[label]
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._lock:
            for version in sorted(self.versions.values(), key=lambda version: -version.number):
                if number is None or version.number == number:
                    status = response.model_version_status.add(version=version.number, state=version.state)
                    if version.error:
                        status.status.error_code = Code.UNKNOWN.number
                        status.status.error_message = version.error
                    else:
                        status.status.SetInParent()
        if not response.model_version_status:
            which = f"version {number} of model" if number is not None else "any versions of model"
            raise RequestError(Code.NOT_FOUND, f"Could not find {which} {self.name}")
        return response

    def poll(self, log: Callable[[str], None]) -> None:
        """Loads the versions that the policy selects, then unloads the others.

        A version is loaded again when its files change, also one that could not be loaded. If no version would be left,
        the present ones stay.
        """
        folders = self.base.versions()
        chosen = self.policy.choose(list(folders))
        for number in chosen:
            known = self.versions.get(number)
            unloaded = known is not None and known.state == State.END and not known.error
            if known is None or unloaded or fingerprint(folders[number]) != known.seen:
                self._load(number, folders[number], log)
        failed = [n for n in chosen if self.versions[n].state != State.AVAILABLE]
        serving = [n for n, version in self.versions.items() if version.state == State.AVAILABLE]
        surplus = sorted(n for n in serving if n not in chosen)
        # For each new version that cannot be served, the newest old one stays.
        keep = len(failed) if chosen else len(surplus)
        for number in surplus[: max(0, len(surplus) - keep)]:
            self._unload(self.versions[number], log)
        with self._lock:
            for number in [n for n, version in self.versions.items() if version.state == State.END]:
                if number not in folders:
                    del self.versions[number]

    def _load(self, number: int, folder: Path, log: Callable[[str], None]) -> None:
        version = Version(number, folder, State.LOADING, seen=fingerprint(folder))
        with self._lock:
            old = self.versions.get(number)
            if old is None or old.state != State.AVAILABLE:
                old, self.versions[number] = None, version
        servable = None
        try:
            verify(folder)
            servable = Servable(folder, self.batching)
            count = warm_up(servable, folder)
            version.card = card_of(folder)
        except Exception as error:  # whatever a broken folder raises, the server continues
            if servable is not None:
                servable.close()
            message = getattr(error, "message", None) or reason(error)
            # Clients may read this message, so it must not contain paths.
            with self._lock:
                version.state, version.error = State.END, f"cannot be loaded: {public_message(str(message))}"
                if old is not None:
                    old.seen = version.seen
            log(f"error: {self.name} version {number} cannot be loaded: {reason(error)}")
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
            self.versions[number] = version
        log(f"{self.name} version {number} is available" + (f" ({count} warm-up requests)" if count else ""))
        if old is not None:
            self._unload(old, log)

    def _unload(self, version: Version, log: Callable[[str], None]) -> None:
        with self._lock:
            version.state = State.UNLOADING
            busy = version.users > 0
            version.idle.clear()
        if busy:
            version.idle.wait(self.request_seconds)
        servable, version.servable = version.servable, None
        with self._lock:
            version.state = State.END
        servable.close()
        del servable
        gc.collect()  # a graph refers to itself
        log(f"{self.name} version {version.number} is unloaded")

    def close(self) -> None:
        """Unloads every version and cancels running requests."""
        for version in self.versions.values():
            if version.servable is not None:
                version.servable.close()


class Manager:
    """All models, and the thread that checks for new versions."""

    def __init__(self, models: Mapping[str, Model], poll_seconds: float, log: Callable[[str], None] | None = None):
        self.models = dict(models)
        self.poll_seconds = poll_seconds
        self.log = log or (lambda text: print(text, file=sys.stderr, flush=True))
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads every model, then checks for changes every `poll_seconds`; 0: no checks.

        Raises `ZooError` if a model has no version that can be served.
        """
        for model in self.models.values():
            model.poll(lambda text: None)
            if model.newest() is None:
                errors = [f"version {v.number} {v.error}" for v in model.versions.values()]
                there = ", ".join(map(str, sorted(model.base.versions())))
                errors = errors or [f"no version to serve: --version-policy selects none of {there or 'none'}"]
                self.stop()
                raise ZooError(f"{model.base.folder}: {errors[-1]}")
            for label, number in model.labels.items():
                if number not in model.versions or model.versions[number].state != State.AVAILABLE:
                    self.log(f"warning: {model.name}: version {number}, which has the label {label!r}, is not served")
        if self.poll_seconds > 0:
            self._thread = threading.Thread(target=self._poll, name="versions", daemon=True)
            self._thread.start()

    def _poll(self) -> None:
        while not self._stop.wait(self.poll_seconds):
            for model in self.models.values():
                try:
                    model.poll(self.log)
                except (OSError, tf.errors.OpError) as error:  # such as a folder that is temporarily unavailable
                    self.log(f"error: {model.name}: {reason(error)}")

    def stop(self) -> None:
        """Stops checking for versions and closes all sessions."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        for model in self.models.values():
            model.close()

    def model(self, name: str) -> Model:
        """The model of that name. Raises `RequestError` if there is none."""
        if not name:
            raise RequestError(Code.INVALID_ARGUMENT, "Missing model name in request.")
        if name not in self.models:
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: Latest({name[:100]})")
        return self.models[name]
