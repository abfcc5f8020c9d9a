"""One device, several, several processes: the same losses and weights; and lost processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import run, run_python
from conftest import zoo as zoo_command
from small_recipes import TASKS
from zoo.distribute import sharding
from zoo.distribute.cluster import find_workers, tf_config
from zoo.distribute.launch import local_addresses, local_configs
from zoo.distribute.peers import wait_for_workers
from zoo.distribute.strategy import Devices, Placement, _digest
from zoo.errors import UsageError


def start(folder, devices, tasks, workers=1, slurm=False, pause=0.0, **changes):
    """The processes of a run: one, or the workers of a cluster, set by TF_CONFIG or Slurm's variables, each `pause`
    seconds after the one before."""
    folder.mkdir(exist_ok=True)
    addresses = local_addresses(workers)
    script = Path(__file__).with_name("small_recipes.py")
    if slurm:
        devices = {**devices, "slurm_port": int(addresses[0].rpartition(":")[2])}
    command = [sys.executable, "-W", "ignore", script, folder, json.dumps(devices), ",".join(tasks)]
    command.append(json.dumps(changes))
    processes = []
    for index, config in enumerate(local_configs(addresses)):
        told = {"TF_CONFIG": config} if workers > 1 else {}
        if slurm:
            told = {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": str(workers)}
            told |= {"SLURM_STEP_NUM_TASKS": str(workers), "SLURM_PROCID": str(index)}
        env = {**os.environ, **told}
        process_log = folder / f"{index}-{len(list(folder.glob('*.log')))}.log"
        with process_log.open("w") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        processes.append((process, process_log))
        time.sleep(pause if index + 1 < workers else 0.0)
    return processes


def finish(processes, timeout=200):
    """Waits for processes to end with status 0."""
    try:
        for process, log in processes:
            assert process.wait(timeout=timeout) == 0, log.read_text()[-3000:]
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()


QUICK = ("image", "language")  # those of the tests that are not marked `full`


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """Trains small recipes on one device, each once, and returns their folder."""
    folder = tmp_path_factory.mktemp("one")

    def trained(tasks):
        missing = [name for name in {*QUICK, *tasks} if not (folder / f"{name}.npz").exists()]
        if missing:
            finish(start(folder, {"strategy": "one_device"}, missing))
        return folder

    return trained


def check_equal(one, other, tasks):
    for name in tasks:
        ours, theirs = np.load(one / f"{name}.npz"), np.load(other / f"{name}.npz")
        assert len(ours["losses"]) > 5
        np.testing.assert_allclose(theirs["losses"], ours["losses"], rtol=1e-5, err_msg=name)
        check_equal_weights(one, other, name)
        for mine, yours in zip(str(ours["rows"]).splitlines(), str(theirs["rows"]).splitlines(), strict=True):
            mine, yours = json.loads(mine), json.loads(yours)
            assert mine == pytest.approx(yours, rel=1e-4), name


def check_equal_weights(one, other, name="image"):
    ours, theirs = np.load(one / f"{name}.npz"), np.load(other / f"{name}.npz")
    for key in ours.files:
        if key.startswith("w"):
            np.testing.assert_allclose(theirs[key], ours[key], atol=1e-4, err_msg=f"{name} {key}")


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("image", "accuracy"),
        ("language", "nats_per_char"),
        pytest.param("tagging", "accuracy", marks=pytest.mark.full),
    ],
)
def test_an_epochs_validation_is_that_of_the_evaluation(one_device, task, metric):
    saved = np.load(one_device([task]) / f"{task}.npz")
    row, metrics = json.loads(str(saved["rows"]).splitlines()[-1]), json.loads(str(saved["metrics"]))
    assert row[f"val_{metric}"] == pytest.approx(metrics[f"validation_{metric}"], rel=1e-5)


def some_and_all(*some):
    every = pytest.param(TASKS, id="all", marks=pytest.mark.full)
    return pytest.mark.parametrize("tasks", [pytest.param(some, id="some"), every])


@some_and_all("image", "language")
def test_two_devices_train_as_one(one_device, tmp_path, tasks):
    finish(start(tmp_path, {"strategy": "mirrored", "logical_devices": 2}, tasks))
    check_equal(one_device(tasks), tmp_path, tasks)


@some_and_all("language")
def test_two_workers_train_as_one(one_device, tmp_path, tasks):
    finish(start(tmp_path, {}, tasks, workers=2))
    check_equal(one_device(tasks), tmp_path, tasks)


@pytest.mark.full
def test_two_tasks_of_slurm_train_as_one(one_device, tmp_path):
    finish(start(tmp_path, {}, ["image"], workers=2, slurm=True))
    check_equal(one_device(["image"]), tmp_path, ["image"])


@some_and_all("image")
def test_gradient_accumulation_gives_the_same_step(one_device, tmp_path, tasks):
    finish(start(tmp_path, {"strategy": "one_device"}, tasks, accumulate_steps=3))
    check_equal(one_device(tasks), tmp_path, tasks)


@pytest.mark.full
@pytest.mark.parametrize(
    ("devices", "workers"), [({"strategy": "mirrored", "logical_devices": 2}, 1), ({}, 2)], ids=["devices", "workers"]
)
def test_synchronised_batch_normalisation_trains_as_one(devices, workers, tmp_path):
    # In double precision: twenty normalised layers make 1e-3 of single precision's rounding within a few steps.
    changes = {"model": "resnet20", "precision": "float64", "sync_batch_norm": True, "limit_steps": 8}
    one, other = tmp_path / "one", tmp_path / "other"
    finish(
        start(one, {"strategy": "one_device"}, ["image"], **changes)
        + start(other, devices, ["image"], workers=workers, **changes)
    )
    check_equal(one, other, ["image"])


RESUMED = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import tensorflow as tf
    from conftest import check_resumption, image_recipe

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    recipe = image_recipe(model="resnet20", model_args={"input_shape": (16, 16, 1)}, epochs=3, batch_size=300,
        momentum=0.9, steps_per_execution=1, deterministic=True)
    check_resumption(recipe, Path(sys.argv[1]), stop_at=6)
    """
)


@pytest.mark.full
def test_normalisation_by_device_resumes(tmp_path):
    """Each device normalises by itself; validation, checkpoint and export have the first one's statistics."""
    done = run_python(tmp_path, code=RESUMED, env={"PYTHONPATH": os.path.dirname(__file__)}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "mirrored over 2 devices" in done.stdout and "Resuming from step 6 of 12" in done.stdout


@pytest.mark.full
def test_gradient_accumulation_on_two_devices_gives_the_same_step(one_device, tmp_path):
    finish(start(tmp_path, {"strategy": "mirrored", "logical_devices": 2}, TASKS, accumulate_steps=3))
    check_equal(one_device(TASKS), tmp_path, TASKS)


def kill(process, ready, peer):
    """Kills a process as soon as it is `ready`, and sees its peer end with an error within a minute."""
    deadline = time.monotonic() + 120
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        assert peer.wait(timeout=60) != 0
    finally:
        peer.kill()


@pytest.mark.full
def test_a_lost_worker_is_named_and_the_run_resumes(tmp_path):
    changes = {"epochs": 8, "batch_size": 48, "limit_steps": None, "optimizer": "sgd", "clip_norm": None}
    calm, folder = tmp_path / "calm", tmp_path / "killed"
    (chief, log), (other, _) = start(folder, {}, ["image"], workers=2, **changes)
    rows = folder / "image" / "metrics.jsonl"
    kill(other, lambda: rows.exists() and rows.read_text().count("\n") >= 2, chief)
    said = log.read_text()
    assert "worker 1 (127.0.0.1:" in said and "was lost" in said, said[-3000:]
    again = start(folder, {}, ["image"], workers=2, **changes)
    finish(again)
    assert "Resuming from step" in again[0][1].read_text()
    finish(start(calm, {"strategy": "one_device"}, ["image"], **changes))
    check_equal_weights(calm, folder)


@pytest.mark.full
def test_a_chief_killed_while_writing_keeps_the_previous_checkpoint(tmp_path):
    changes = {"limit_steps": 20, "batch_size": 120, "optimizer": "sgd", "clip_norm": None, "model": "mlp"}
    changes["model_args"] = {"input_shape": [16, 16, 1], "hidden": [3000, 3000], "activation": "relu"}
    calm, folder = tmp_path / "calm", tmp_path / "killed"
    (chief, _), (other, other_log) = start(folder, {}, ["image"], workers=2, **changes)
    checkpoints = folder / "image" / "checkpoint"

    def writing():
        whole = {path.stem for path in checkpoints.glob("ckpt-*.index")}
        return len(whole) >= 2 and any(path.name.endswith("_temp") for path in checkpoints.glob("ckpt-*"))

    kill(chief, writing, other)
    assert "worker 0 (127.0.0.1:" in other_log.read_text() and "was lost" in other_log.read_text()
    latest = tf.train.latest_checkpoint(str(checkpoints))
    assert any(path.name.startswith("ckpt-") and path.name.endswith("_temp") for path in checkpoints.iterdir())
    again = start(folder, {}, ["image"], workers=2, **changes)
    finish(again)
    assert f"Resuming from step {latest.rpartition('-')[2]} of 20" in again[0][1].read_text()
    finish(start(calm, {"strategy": "one_device"}, ["image"], **changes))
    check_equal_weights(calm, folder)


def test_a_process_that_lost_a_worker_ends_and_deletes_its_files(tmp_path, monkeypatch):
    address = local_addresses(1)[0]
    code = f"""
from zoo.distribute.peers import PeerMonitor
from zoo.paths import temporary_folder
(temporary_folder("zoo-worker-") / "checkpoint").mkdir()
PeerMonitor({{"worker 1": "{address}"}}, interval=0.1).run()
"""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = run_python(code=code)
    assert done.returncode == 1 and f"worker 1 ({address}) was lost" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_late_worker_is_waited_for(tmp_path):
    finish(start(tmp_path, {}, ["image"], workers=2, pause=30.0, limit_steps=4))


def test_a_missing_worker_is_named(tmp_path):
    addresses = local_addresses(2)
    code = "from zoo.cli import console; console()"
    arguments = ["train", "lenet5_digits", "--run-dir", tmp_path / "run", "--connect-timeout", "3"]
    done = run_python(*arguments, code=code, env={"TF_CONFIG": local_configs(addresses)[0]}, timeout=90)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: No response from worker 1") and f"worker 1 ({addresses[1]})" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "TF_CONFIG is not set"),
        ("{", "TF_CONFIG is not JSON"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG lacks 'task'"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}', "has no worker of"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}', "has no worker of"),
        ('{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}', "1 is not HOST:PORT"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "no worker of the task's"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "'a' is not HOST:PORT"),
        ('{"cluster": {"worker": ["a:²"]}, "task": {"type": "worker", "index": 0}}', "'a:²' is not HOST:PORT"),
    ],
)
def test_errors_in_tf_config_are_named(text, said):
    with pytest.raises(UsageError, match=said):
        tf_config(text)


def test_the_chief_comes_first():
    text = '{"cluster": {"worker": ["b:1", "c:2"], "chief": ["a:3"]}, "task": {"type": "worker", "index": 1}}'
    assert tf_config(text) == (("a:3", "b:1", "c:2"), 2)


def test_slurm_tasks_are_in_rank_order(monkeypatch):
    told = {"STEP_NODELIST": "n[9-10],gpu1", "STEP_TASKS_PER_NODE": "2(x2),1", "STEP_NUM_TASKS": "5", "PROCID": "3"}
    for key, value in told.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    resolver, workers, worker = find_workers("slurm", 8888)
    assert workers == ("n9:8888", "n9:8889", "n10:8888", "n10:8889", "gpu1:8888") and worker == 3
    assert resolver.cluster_spec().as_dict() == {"worker": list(workers)}
    assert (resolver.task_type, resolver.task_id, resolver.num_accelerators()) == ("worker", 3, {"GPU": 0})


def test_a_machine_finds_its_own_place(monkeypatch):
    class Resolver:
        def cluster_spec(self):
            return tf.train.ClusterSpec({"worker": ["10.0.0.7:8470", "127.0.0.1:8470"]})

    monkeypatch.setattr(tf.distribute.cluster_resolver, "KubernetesClusterResolver", Resolver)
    monkeypatch.setattr(socket, "gethostname", lambda: "127.0.0.1")
    resolver, workers, worker = find_workers("kubernetes", 8888)
    assert (workers, worker) == (("10.0.0.7:8470", "127.0.0.1:8470"), 1)
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "127.0.0.2")
    with pytest.raises(UsageError, match="127.0.0.2, this machine, is not one of 10.0.0.7:8470, 127.0.0.1:8470"):
        find_workers("kubernetes", 8888)


def test_a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is not available here"):
            wait_for_workers(["127.0.0.1:1", f"127.0.0.1:{port}"], 1, 1.0)


def test_invalid_arguments_are_errors(small_recipe, tmp_path):
    with pytest.raises(UsageError, match="strategy is 'mirored'. Did you mean 'mirrored'"):
        Devices(strategy="mirored")
    with pytest.raises(UsageError, match="cluster is 'slrum'. Did you mean 'slurm'"):
        Devices(cluster="slrum")
    with pytest.raises(UsageError, match="logical_devices is 0"):
        Devices(logical_devices=0)
    for wrong in ({"connect_timeout": 0}, {"connect_timeout": "300"}, {"slurm_port": None}, {"logical_devices": 1.5}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} is .*; it must be"):
            Devices(**wrong)
    with pytest.raises(UsageError, match="mirrored needs at least two devices, and this machine has one, CPU:0"):
        run(small_recipe(), run_dir=tmp_path, devices=Devices(strategy="mirrored"))
    with pytest.raises(zoo.ZooError, match="The TPU 'local' does not respond"):
        run(small_recipe(), run_dir=tmp_path, devices=Devices(strategy="tpu", tpu="local"))
    with pytest.raises(UsageError, match="TF_CONFIG is not set"):
        run(small_recipe(), run_dir=tmp_path, devices=Devices(strategy="multi_worker"))
    with pytest.raises(UsageError, match="accumulate_steps is 3; it must be at least 1 and divide the batch of 50"):
        small_recipe(accumulate_steps=3)
    flags = ("--batch-size", "2", "--accumulate-steps", "2", "--logical-devices", "2", "--strategy", "mirrored")
    refused = zoo_command("train", "lenet5_digits", *flags, cwd=tmp_path)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "batch_size is 2; with 2 replicas and accumulate_steps=2 it must be at least 4." in refused.stderr


def test_every_row_of_a_batch_belongs_to_one_replica():
    class Two:
        num_replicas_in_sync = 3

    placement = Placement(Two(), "mirrored", "")
    assert placement.share_of(10) == "3 replicas, 3, 3, 4 examples of each batch of 10"
    assert placement.share_of(12) == "3 replicas, 4 examples of each batch of 12 on each"


def test_padding_is_masked():
    batch = {"inputs": {"a": tf.reshape(tf.range(10), (5, 2))}, "labels": tf.range(5)}
    padded = sharding.padded(batch, 4)
    assert padded["inputs"]["a"].shape == (8, 2) and padded["labels"].numpy().tolist() == [0, 1, 2, 3, 4, 0, 0, 0]
    assert padded["mask"].numpy().tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_launch_ends_with_the_worst_status(tmp_path):
    code = "from zoo.cli import console; console()"
    done = run_python("launch", "--workers", "2", "--", "show", "lenet5", code=code)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert {line[:11] for line in lines} == {"[worker 0] ", "[worker 1] "}
    done = run_python("launch", "--workers", "2", "--", "show", "lenet6", code=code)
    assert done.returncode == 2 and "[worker 1] error: There is no model or recipe 'lenet6'" in done.stdout
    assert run_python("launch", "--workers", "0", "--", "list", code=code).returncode == 2
    assert "nothing to launch" in run_python("launch", code=code).stderr


def test_an_epoch_that_is_resumed_on_other_devices_has_the_same_loss(small_recipe, tmp_path):
    class Stop(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == 3:
                raise KeyboardInterrupt

    recipe = small_recipe(limit_steps=12, steps_per_execution=1)
    with pytest.raises(zoo.ZooError, match="Stopped at step 3"):
        run(recipe, run_dir=tmp_path / "stopped", callbacks=[Stop()])
    whole = run(recipe, run_dir=tmp_path / "whole").folder
    code = f"""
import json, pathlib, zoo
from zoo.tasks.table import recipe_from_dict
folder = pathlib.Path({str(tmp_path / "stopped")!r})
zoo.run(recipe_from_dict(json.loads((folder / "recipe.json").read_text())), run_dir=folder,
        devices=zoo.Devices(logical_devices=2, strategy="mirrored"), check_export=False)
"""
    done = run_python(code=code)
    assert "Resuming from step 3" in done.stdout, done.stdout + done.stderr
    row, expected = (json.loads((folder / "metrics.jsonl").read_text()) for folder in (tmp_path / "stopped", whole))
    assert row == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_launch_does_not_leave_its_workers_behind(tmp_path, number):
    code = "from zoo.cli import console; console()"
    command = ["launch", "--workers", "2", "--", "train", "lenet5_digits", "--epochs", "99", "--run-dir", "run"]
    log = tmp_path / "log"
    with log.open("w") as output:
        launcher = subprocess.Popen([sys.executable, "-c", code, *command], cwd=tmp_path, stdout=output, stderr=output)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    rows = tmp_path / "run" / "metrics.jsonl"  # TensorFlow has taken the signal's handler when there is one
    while launcher.poll() is None and not (rows.exists() and rows.read_text()):
        time.sleep(0.1)
    workers = children.read_text().split()
    launcher.send_signal(number)
    status = launcher.wait(60)
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGKILL: -9}[number]
    deadline = time.monotonic() + 20
    while any(Path("/proc", worker).exists() for worker in workers):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    assert len(workers) == 2 and ("Stopped at step" in log.read_text()) == (number == signal.SIGINT)


def test_workers_with_different_recipes_do_not_train(tmp_path):
    code = "from zoo.cli import console; console()"
    command = ["train", "lenet5_digits", "--limit-steps", "2", "--run-dir", str(tmp_path / "run")]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, *command, "--seed", str(seed)],
            env={**os.environ, "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed, config in enumerate(local_configs(local_addresses(2)))
    ]
    said = workers[1].communicate(timeout=120)[0]
    workers[0].kill()  # it would say in ten seconds that worker 1 was lost
    workers[0].communicate()
    assert workers[1].returncode == 2
    assert said.splitlines()[-1].startswith("error: seed differs from that of worker 0, here 1. Run the same command")


def test_what_differs_between_workers_is_named(monkeypatch):
    chief = {"data": {"sha256": "a"}, "epochs": 2, "restart": False}
    placement = Placement(tf.distribute.get_strategy(), "multi_worker", "", 1, ("a:1", "b:1"))
    monkeypatch.setattr(placement, "_chiefs", lambda own: [_digest(x) for x in sent.pop(0)])
    for here, said in (
        (chief, None),
        ({**chief, "restart": True}, "restart differs from that of worker 0, here True"),
        ({**chief, "data": {"sha256": "b"}}, "data differs from that of worker 0. Run"),
        ({"epochs": 2}, "the kind of recipe differs"),
    ):
        sent = [[sorted(chief)], [chief[name] for name in sorted(chief)]]
        with pytest.raises(zoo.UsageError, match=said) if said else contextlib.nullcontext():
            placement.check_agreement(here)


def test_a_connection_that_does_not_end_is_ended():
    code = "import time\nfrom zoo.distribute.peers import limited\nwith limited(0.5): time.sleep(60)"
    done = run_python(code=code, timeout=30)
    assert done.returncode == -signal.SIGKILL and "error: The workers accept connections, but" in done.stderr
    code = "import time\nfrom zoo.distribute.peers import limited\nwith limited(1): pass\ntime.sleep(2)"
    assert run_python(code=code, timeout=30).returncode == 0
