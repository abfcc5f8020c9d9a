"""API keys of clients."""

import hmac
from collections.abc import Sequence

from zoo.errors import ZooError, reason
from zoo.paths import user_path
from zoo.serve.errors import Code, RequestError


class Keys:
    """The accepted keys; without keys, every client is accepted."""

    def __init__(self, keys: Sequence[str] = ()):
        self._keys = [key.encode() for key in keys]

    @classmethod
    def read(cls, path: str) -> "Keys":
        """Reads one key per line. Raises `ZooError` if the file cannot be read or contains none."""
        try:
            keys = [line.strip() for line in user_path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ZooError(f"The API keys cannot be read from {path}: {reason(error)}.") from error
        if not keys:
            raise ZooError(f"{path} contains no API key; write one per line.")
        return cls(keys)

    def check(self, authorization: str | None, key: str | None = None) -> None:
        """`authorization` is `Bearer KEY`, `key` the key alone. Raises `RequestError` if neither is accepted."""
        if not self._keys:
            return
        scheme, _, token = (authorization or "").partition(" ")
        shown = (token.strip() if scheme.lower() == "bearer" else key or "").encode(errors="replace")
        # A list, so that all keys are compared and the time does not depend on the match.
        if not any([hmac.compare_digest(shown, known) for known in self._keys]):
            raise RequestError(Code.UNAUTHENTICATED, "An API key is required: send 'Authorization: Bearer KEY'.")
