"""TFDS builders whose data is prepared, or an error that says what to do."""

import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from zoo.errors import ZooError, reason


def prepared(name: str, offline: str, log: Callable[[str], None], builder=None):
    """The TFDS builder of a set. Its data is downloaded and prepared if necessary.

    `offline` names the alternative for the error message. Raises `ZooError`, and TFDS's errors for unknown names.
    """
    import tensorflow_datasets as tfds

    builder = builder or tfds.builder(name)
    if (Path(builder.data_dir) / "dataset_info.json").exists():
        return builder
    log(f"{name} is not in {builder.data_dir}: preparing it")
    try:
        _see_network(builder)
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the disk or the builder raise, the solution is the same
        by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        if by_hand:
            depth = len(Path(builder.info.full_name).parts)  # NAME/VERSION or NAME/CONFIG/VERSION
            folder = Path(builder.data_dir).parents[depth - 1] / "downloads" / "manual"
            raise ZooError(
                f"{name} has to be downloaded by hand, because its owners require consent. {' '.join(by_hand.split())} "
                f"The folder is {folder}; then start the same command again. Or use --dataset {offline}."
            ) from error
        raise ZooError(
            f"{name} is not prepared in {builder.data_dir} and cannot be downloaded ({reason(error)}). With no "
            f"network, use --dataset {offline}, or set TFDS_DATA_DIR to where it is prepared."
        ) from error
    return builder


def _see_network(builder) -> None:
    """Raises `OSError` if the first host of a builder's downloads cannot be reached; TFDS itself tries for minutes."""
    urls = [*getattr(builder, "URLS", ()), *builder.url_infos]
    if not urls or urllib.request.getproxies():  # behind a proxy, the host name may not resolve here
        return
    address = urlsplit(urls[0])
    socket.create_connection((address.hostname, address.port or 443), timeout=10).close()
