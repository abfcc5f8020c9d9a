"""Versions: selection, replacement by a new version, and broken versions."""

import os
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving import LENET, Client, make_service, save_small
from zoo.errors import UsageError, ZooError
from zoo.serve.settings import VersionPolicy


@pytest.fixture
def base(tmp_path):
    save_small(tmp_path / "small", 1)
    return tmp_path / "small"


def states(client):
    status, answer = client.json("GET", "/v1/models/small")
    return {int(row["version"]): row["state"] for row in answer["model_version_status"]} if status == 200 else status


def offset(client, path="/v1/models/small"):
    status, answer = client.json("POST", f"{path}:predict", {"instances": [0.0]})
    return answer["predictions"][0] if status == 200 else answer["error"]


def poll(service):
    service.manager.models["small"].poll(lambda text: None)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("latest:1", [12]), ("latest", [12]), ("latest:2", [9, 12]), ("all", [1, 9, 12]), ("specific:9,1,4", [1, 9])],
)
def test_policies(text, chosen):
    assert VersionPolicy.parse(text).choose([9, 12, 1]) == chosen


@pytest.mark.parametrize("text", ["newest", "latest:0", "latest:x", "specific:", "specific:a", "all:1", ""])
def test_wrong_policies(text):
    with pytest.raises(UsageError, match="must be latest:N, all or specific"):
        VersionPolicy.parse(text)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_paths_are_literal(base):
    shutil.copytree(LENET, base.parent / "lenet5")
    folder = base.parent.rename(base.parent.with_name("sv[1] * back\\slash?"))
    client = Client(make_service([folder]))
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 1.0)
    assert client.json("GET", "/v1/models/lenet5")[1]["model_version_status"][0]["state"] == "AVAILABLE"  # warmed up
    client.service.manager.stop()


@pytest.mark.parametrize("name", ["²", "٣", "1.5", "-1"])
def test_folders_with_other_names_are_no_versions(base, name):
    shutil.copytree(base / "1", base / name)
    client = Client(make_service([base]))
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 1.0)
    client.service.manager.stop()


def test_a_new_version_replaces_the_old_one(base):
    client = Client(make_service([base]))
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 1.0)
    save_small(base, 10)
    poll(client.service)
    assert (states(client), offset(client)) == ({10: "AVAILABLE", 1: "END"}, 10.0)
    assert "Specific(small, 1)" in offset(client, "/v1/models/small/versions/1")
    shutil.rmtree(base / "1")
    poll(client.service)
    assert states(client) == {10: "AVAILABLE"}
    client.service.manager.stop()


def test_an_older_version_returns_when_the_newest_is_taken_away(base):
    save_small(base, 2)
    client = Client(make_service([base]))
    shutil.rmtree(base / "2")
    poll(client.service)
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 1.0)
    shutil.rmtree(base / "1")  # nothing is left: what is served stays
    poll(client.service)
    assert offset(client) == 1.0
    client.service.manager.stop()


def test_a_version_that_was_unloaded_can_return(base):
    client = Client(make_service([base]))
    save_small(base, 2)
    poll(client.service)
    assert (states(client), offset(client)) == ({2: "AVAILABLE", 1: "END"}, 2.0)
    shutil.rmtree(base / "2")
    poll(client.service)
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 1.0)
    client.service.manager.stop()


def test_a_version_whose_files_change_is_loaded_again(base):
    client = Client(make_service([base]))
    shutil.rmtree(base / "1")
    save_small(base, 1, offset=5)  # between two polls
    poll(client.service)
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 5.0)
    break_graph(base / "1")  # while it cannot be loaded, the loaded one stays
    poll(client.service)
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 5.0)
    shutil.rmtree(base / "1")
    save_small(base, 1, offset=6)
    poll(client.service)
    assert (states(client), offset(client)) == ({1: "AVAILABLE"}, 6.0)
    client.service.manager.stop()


def test_requests_are_answered_while_versions_change(base):
    service = make_service([base], poll_seconds=0.05)
    client, stop, answers = Client(service), threading.Event(), []

    def ask():
        while not stop.is_set():
            answers.append(offset(client))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        save_small(base, version)
        while offset(client) != version:
            pass
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) <= {1.0, 2.0, 3.0, 4.0} and len(answers) > 20
    service.manager.stop()


def break_graph(folder):
    (folder / "saved_model.pb").write_bytes(b"no graph")


def break_variables(folder):
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"")


def break_warm_up(folder):
    log = prediction_log_pb2.PredictionLog()
    request = predict_pb2.PredictRequest()
    request.inputs["wrong"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.float32)))
    log.predict_log.request.CopyFrom(request)
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def break_sums(folder):
    (folder / "assets.extra").mkdir(exist_ok=True)
    (folder / "assets.extra" / "sha256sums.txt").write_text("0" * 64 + "  saved_model.pb\n")


@pytest.mark.parametrize("damage", [break_graph, break_variables, break_warm_up, break_sums])
def test_the_old_version_is_served_if_the_new_one_is_broken(base, damage):
    client = Client(make_service([base]))
    whole = save_small(base.parent / "elsewhere", 2)
    broken = shutil.copytree(whole, base / "2")
    damage(broken)
    poll(client.service)
    assert (states(client), offset(client)) == ({2: "END", 1: "AVAILABLE"}, 1.0)
    status = client.json("GET", "/v1/models/small/versions/2")[1]["model_version_status"][0]["status"]
    assert status["error_code"] == "UNKNOWN" and status["error_message"].startswith("cannot be loaded: ")
    assert str(base.parent) not in status["error_message"] and "Traceback" not in status["error_message"]
    with pytest.raises(ZooError, match="version 2 cannot be loaded"):
        make_service([base])
    shutil.rmtree(base / "2")
    shutil.copytree(whole, base / "2")  # mended, it is tried again
    poll(client.service)
    assert (states(client), offset(client)) == ({2: "AVAILABLE", 1: "END"}, 2.0)
    client.service.manager.stop()


def test_all_versions_and_labels(base):
    save_small(base, 5)
    said, labels = [], {"stable": 1, "new": 5, "away": 9}
    client = Client(make_service([base], policy="all", labels=labels, log=said.append))
    assert said == ["warning: small: version 9, which has the label 'away', is not served"]
    assert states(client) == {5: "AVAILABLE", 1: "AVAILABLE"} and offset(client) == 5.0
    for path, value in (("versions/1", 1.0), ("labels/stable", 1.0), ("labels/new", 5.0)):
        assert offset(client, f"/v1/models/small/{path}") == value
    assert "Specific(small, 9)" in offset(client, "/v1/models/small/labels/away")
    assert client.json("GET", "/v1/models/small/labels/stable")[1]["model_version_status"][0]["version"] == "1"
    client.service.manager.stop()


def test_warm_up_requests_are_answered_before_a_version_takes_over(base):
    folder = save_small(base, 2)
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.float32)))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    said = []
    service = make_service([base])
    service.manager.stop()
    service.manager.models["small"].versions.clear()
    service.manager.models["small"].poll(said.append)
    assert said == ["small version 2 is available (1 warm-up requests)"]
    service.manager.stop()


def test_paths_that_can_be_served(base, tmp_path):
    from zoo.serve.folders import find_models

    assert list(find_models([tmp_path])) == list(find_models([base])) == list(find_models([base / "1"])) == ["small"]
    shutil.copytree(base / "1", tmp_path / "plain")  # a SavedModel that is in no folder of versions
    assert find_models([tmp_path / "plain"])["plain"].versions() == {1: tmp_path / "plain"}
    run = tmp_path / "run" / "export"
    shutil.copytree(base, run / "mine")
    assert list(find_models([run.parent])) == ["mine"]
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "contains no SavedModel"), (tmp_path / "none", "There is no folder")):
        with pytest.raises(ZooError, match=message):
            find_models([path])
    shutil.copytree(base, tmp_path / "other" / "small")
    with pytest.raises(UsageError, match="Two models are named small"):
        find_models([base, tmp_path / "other"])
    assert len(find_models([base, tmp_path / "small"])) == 1
