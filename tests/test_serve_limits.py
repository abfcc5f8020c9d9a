"""Limits of requests, and misbehaving clients."""

import base64
import gzip
import io
import struct
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import CHAR_RNN, LENET, ROOT, Client, make_service, save_small
from zoo.serve.images import image_size
from zoo.serve.settings import Limits

LIMITS = Limits(body_bytes=20_000, rows=8, pixels=10_000, text_bytes=50, length=30, concurrent=2, seconds=1.0)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    save_small(base / "small", 1)
    service = make_service([base, LENET, CHAR_RNN, ROOT / "saved_models" / "seq2seq_dates"], LIMITS)
    yield Client(service)
    service.manager.stop()


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def encoded(kind, height=30, width=50, **options):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(file, kind, **options)
    return file.getvalue()


def claimed_png(height, width):
    """A small PNG file whose header claims that size, with its checksum."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = encoded("PNG")
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def behind_another_chunk(content):
    """A PNG file with a chunk before its header that looks like the header of one pixel."""
    chunk = b"teSt" + claimed_png(1, 1)[16:29]
    return content[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[8:]


def gif_of_one_pixel(*sides):
    """A GIF file whose header claims one pixel; its frame is larger."""
    content = encoded("GIF", *sides)
    return content[:6] + struct.pack("<HH", 1, 1) + content[10:]


WEBP = {"lossless": True, "method": 0, "quality": 0}


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (encoded("PNG"), (30, 50, 1)),
        (encoded("JPEG"), (30, 50, 1)),
        (encoded("JPEG", progressive=True, exif=b"Exif\0\0" + b"\xff\xc0" * 40), (30, 50, 1)),
        (encoded("BMP"), (30, 50, 1)),
        (encoded("GIF"), (30, 50, 1)),
        (
            encoded("GIF", save_all=True, append_images=[Image.new("RGB", (50, 30), (i, 0, 9)) for i in range(4)]),
            (30, 50, 5),
        ),
        (claimed_png(2**31 - 1, 2**31 - 1), (2**31 - 1, 2**31 - 1, 1)),
        (gif_of_one_pixel(), (30, 50, 1)),
        (b"GIF8zz" + encoded("GIF")[6:], (30, 50, 1)),
        (b"GIF89a is a format of pictures", None),
        (behind_another_chunk(encoded("PNG")), None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"\xff\xd8\xff\xff\xff", None),
        (b"GIF89a", None),
        (b"BMW is a car maker, not a picture", None),
        (b"", None),
    ],
)
def test_sizes_are_read_from_headers(content, size):
    assert image_size(content) == size


def test_sizes_are_those_that_tensorflow_decodes():
    random = np.random.default_rng(0)
    for _ in range(30):
        height, width = random.integers(1, 90, 2)
        for kind in ("PNG", "JPEG", "GIF", "BMP"):
            content = encoded(kind, int(height), int(width))
            assert image_size(content) == (*tf.io.decode_image(content, expand_animations=False).shape[:2], 1)
            if kind == "GIF":
                content = b"GIF8xy" + struct.pack("<HH", 1, 1) + content[10:]
                assert image_size(content)[:2] == tf.io.decode_image(content, expand_animations=False).shape[:2]


def row(length):
    return {"prompt": "a", "length": length, "temperature": 0.5, "seed": 1}


@pytest.mark.parametrize(
    ("path", "request_", "status", "message"),
    [
        ("small", {"instances": [0.0] * 9}, 400, "has 9 rows; the limit is 8 rows"),
        ("small", {"instances": [0.0] * 9000}, 413, "larger than 20000 bytes"),
        ("lenet5_mnist", {"signature_name": "image_bytes", "instances": [b64(claimed_png(101, 100))]}, 400, "10,000"),
        (
            "lenet5_mnist",
            {"signature_name": "image_bytes", "instances": [b64(encoded("PNG"))] * 7},
            400,
            "10,500 pixels",
        ),
        ("lenet5_mnist", {"signature_name": "image_bytes", "instances": [b64(claimed_png(1, 200))]}, 400, "too narrow"),
        ("lenet5_mnist", {"instances": [[[[0]] * 500]]}, 400, "too narrow"),
        ("seq2seq_dates", {"instances": ["x" * 51]}, 400, "a text of 51 bytes; the limit is 50"),
        ("seq2seq_dates", {"instances": ["é" * 26]}, 400, "a text of 52 bytes"),
        ("char_rnn_tiny_shakespeare_fast", {"instances": [row(31)]}, 400, "the limit is 30 characters"),
        ("char_rnn_tiny_shakespeare_fast", {"instances": [row(2**31 - 1)]}, 400, "the limit is 30"),
        ("small", {"signature_name": "slow", "instances": [10**9]}, 504, "longer than it may"),
    ],
)
def test_exceeded_limits_are_named_in_the_error(client, path, request_, status, message):
    found, answer = client.json("POST", f"/v1/models/{path}:predict", request_)
    assert found == status and message in answer["error"]


@pytest.mark.parametrize(
    "content",
    [
        encoded("WEBP", **WEBP),
        encoded("WEBP", 12_000, 12_000, **WEBP),
        encoded("WEBP", 20, 16_000, **WEBP),
        behind_another_chunk(encoded("PNG", 200, 200)),
        b"\xff\x0a" + bytes(9),
        b"\0\0\0\x0cJXL \r\n\x87\n",
    ],
)
def test_images_whose_size_is_not_read_are_refused_by_every_model(client, content):
    for model, signature in (("lenet5_mnist", "image_bytes"), ("small", "strings")):
        request = {"signature_name": signature, "instances": [b64(content)]}
        status, answer = client.json("POST", f"/v1/models/{model}:predict", request)
        assert status == 400 and "has a value that is not a PNG, JPEG, GIF or BMP file" in answer["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gif_of_one_pixel(101, 100), "11,600 pixels"),
        (b"GIF8zz" + encoded("GIF", 101, 100)[6:], "11,600 pixels"),
        (encoded("TIFF"), "not a PNG, JPEG, GIF or BMP file"),
        (b"no image, and longer than a text may be: " * 9, "not a PNG, JPEG, GIF or BMP file"),
    ],
)
def test_what_the_input_for_images_refuses(client, content, message):
    request = {"signature_name": "image_bytes", "instances": [b64(encoded("PNG")), b64(content)]}
    status, answer = client.json("POST", "/v1/models/lenet5_mnist:predict", request)
    assert status == 400 and message in answer["error"]


def test_padded_texts_are_limited_together(tmp_path):
    service = make_service([CHAR_RNN], Limits(text_bytes=50, length=500))
    client = Client(service)
    rows = [{"prompt": "a", "length": 400, "temperature": 0.5, "seed": 1}] * 3
    status, answer = client.json("POST", "/v1/models/char_rnn_tiny_shakespeare_fast:predict", {"instances": rows})
    assert status == 400 and "3 rows of texts padded to 401 bytes are more than the 1000" in answer["error"]
    status, answer = client.json("POST", "/v1/models/char_rnn_tiny_shakespeare_fast:predict", {"instances": rows[:2]})
    assert status == 200
    service.manager.stop()


def test_compressed_bodies_count_as_what_they_become(client):
    bomb = gzip.compress(b'{"instances": [' + b" " * 10**7)
    assert len(bomb) < LIMITS.body_bytes
    status, answer = client.json("POST", "/v1/models/small:predict", bomb, {"Content-Encoding": "gzip"})
    assert status == 413 and "20000 bytes" in answer["error"]


def test_a_too_large_content_length_is_refused_before_reading(client):
    status, headers, _ = client("POST", "/v1/models/small:predict", b"", {"content-length": "20001"})
    assert status == 413 and headers["connection"] == "close"
    assert client("POST", "/v1/models/small:predict", {"instances": [1.0]}, {"content-length": "²"})[0] == 200


def test_concurrent_requests_are_limited(client):
    path, slow = "/v1/models/small:predict", {"signature_name": "slow", "instances": [10**9]}
    statuses = []
    running = [threading.Thread(target=lambda: statuses.append(client("POST", path, slow)[0])) for _ in range(6)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert sorted(statuses) == [429] * 4 + [504] * 2
    assert client("POST", path, {"instances": [1.0]})[0] == 200


def test_api_keys(tmp_path):
    save_small(tmp_path / "small", 1)
    service = make_service([tmp_path], keys=["secret", "other"])
    client = Client(service)
    path, body = "/v1/models/small:predict", {"instances": [1.0]}
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "secret"},
        {"X-API-Key": ""},
        {"X-API-Key": "é"},
    ):
        status, sent, _ = client("POST", path, body, headers)
        assert status == 401 and sent["www-authenticate"] == "Bearer"
    for headers in ({"Authorization": "Bearer secret"}, {"authorization": "bearer other"}, {"X-API-Key": "secret"}):
        assert client("POST", path, body, headers)[0] == 200
    for closed in ("/v1/models/small", "/monitoring/prometheus/metrics", "/page/models"):
        assert client("GET", closed)[0] == 401
    for open_ in ("/healthz", "/", "/page/page.js"):
        assert client("GET", open_)[0] == 200
    service.manager.stop()
