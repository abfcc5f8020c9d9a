"""What tasks share whose data is a `Splits`."""

from collections.abc import Mapping
from typing import Any

from zoo.data.splits import Splits, first_examples
from zoo.tasks.base import Task


class SplitsTask(Task):
    """A task whose `prepare` loads `data`."""

    data: Splits[Any] | None = None  # until `prepare` has run

    @property
    def data_fingerprint(self) -> Mapping[str, Any]:
        return self.data.fingerprint

    def shorten(self, examples: int) -> None:
        self.data = first_examples(self.data, examples)
