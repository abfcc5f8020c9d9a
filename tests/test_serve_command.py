"""`zoo serve` and `zoo serve-config` as commands: imports, errors and files."""

import ast
import socket
import sys
from pathlib import Path

import pytest

import zoo.serve
from conftest import run_python
from conftest import zoo as zoo_command
from serving import LENET, save_small
from zoo.errors import ZooError
from zoo.serve.addresses import bind, listen


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "small"
    save_small(base, 1)
    return base


def test_serve_imports_neither_keras_nor_model_code():
    allowed = {"zoo.backend", "zoo.errors", "zoo.paths", "zoo.shipped", "zoo.serve", "zoo.exports.read"}
    packages = {"starlette", "uvicorn", "grpc", "grpc_health", "tensorflow_serving", "prometheus_client", "httptools"}
    packages |= {"tensorflow", "numpy", "google"}
    for path in Path(zoo.serve.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.startswith("zoo"):
                    assert any(name == known or name.startswith(known + ".") for known in allowed), (path, name)
                else:
                    assert name.partition(".")[0] in packages | set(sys.stdlib_module_names), (path, name)
    assert not {"keras"} & packages


def test_a_model_is_served_where_keras_and_the_rest_of_the_zoo_cannot_be_imported():
    code = f"""
import sys
import zoo
for name in ("keras", "zoo.models", "zoo.layers", "zoo.tasks", "zoo.registry", "zoo.recipe"):
    sys.modules[name] = None
sys.path.insert(0, {str(Path(__file__).parent)!r})
from serving import Client, LENET, make_service
client = Client(make_service([LENET]))
print(client.json("POST", "/v1/models/lenet5_mnist:predict", {{"instances": [[[[0]] * 28] * 28]}})[0])
client.service.manager.stop()
"""
    assert run_python(code=code).stdout.strip().endswith("200")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["FOLDER/none"], 2, "There is no folder"),
        (["FOLDER/empty"], 1, "contains no SavedModel"),
        (["FOLDER/broken"], 1, "version 1 cannot be loaded"),
        (["FOLDER/small", "--host", "0.0.0.0"], 2, "--allow-remote"),
        (["FOLDER/small", "--host", "no.such.host.invalid"], 2, "is not an address of this machine"),
        (["FOLDER/small", "--port", "PORT"], 1, "choose another port with --port"),
        (["FOLDER/small", "--port", "0", "--grpc-port", "PORT"], 1, "choose another port with --grpc-port"),
        (["FOLDER/small", "--version-policy", "newest"], 2, "it must be latest:N"),
        (["FOLDER/small", "--version-policy", "specific:4"], 1, "selects none of 1"),
        (["FOLDER/small", "--version-label", "stable"], 2, "MODEL:LABEL=N"),
        (["FOLDER/small", "--version-label", "stable=²"], 2, "MODEL:LABEL=N"),
        (["FOLDER/small", "--max-batch-size", "0"], 2, "must be 1 or more"),
        (["FOLDER/small", "--max-rows", "0"], 2, "--max-rows is 0; it must be at least 1"),
        (["FOLDER/small", "--port", "99999"], 2, "--port is 99999; it must be at least 0 and at most 65535"),
        (["FOLDER/small", "--port", "70000"], 2, "--port is 70000"),
        (["FOLDER/small", "--api-key-file", "FOLDER/none"], 1, "API keys cannot be read"),
        (["FOLDER/small", "--api-key-file", "FOLDER/keys"], 1, "contains no API key"),
    ],
)
def test_paths_that_cannot_be_served_are_an_error_of_one_line(small, tmp_path, arguments, status, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "keys").write_text("\n\n")
    (tmp_path / "small").symlink_to(small)
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"broken")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"FOLDER": str(tmp_path), "PORT": str(taken.getsockname()[1])}
        for key, value in values.items():
            arguments = [argument.replace(key, value) for argument in arguments]
        free = [flag for flag in ("--port", "--grpc-port") if flag not in arguments]
        done = zoo_command("serve", *arguments, *(word for flag in free for word in (flag, 0)))
    assert done.returncode == status and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_servers_that_start_together_do_not_share_a_port():
    first = bind("127.0.0.1", 0)
    with first, bind("127.0.0.1", first.getsockname()[1]) as second:  # both can bind it until one listens
        listen(first)
        with pytest.raises(ZooError, match=f"Cannot listen on 127.0.0.1:{first.getsockname()[1]}.*--port"):
            listen(second)


def test_serve_config_writes_what_tensorflow_serving_reads(tmp_path):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    arguments = ("--version-policy", "latest:2", "--version-label", "stable=1", "--max-batch-size", "16")
    done = zoo_command("serve-config", LENET, "--output", tmp_path / "out", *arguments)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((tmp_path / "out" / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("lenet5_mnist", "/models/lenet5_mnist", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 2 and dict(model.version_labels) == {"stable": 1}
    assert "max_batch_size { value: 16 }" in (tmp_path / "out" / "batching.config").read_text()
    assert "enable: true" in (tmp_path / "out" / "monitoring.config").read_text()
    assert zoo_command("serve-config", LENET, "--output", tmp_path / "out", *arguments).returncode == 0
    (tmp_path / "out" / "batching.config").write_text("# mine")
    done = zoo_command("serve-config", LENET, "--output", tmp_path / "out")
    assert done.returncode == 2 and "batching.config was not written by `zoo serve-config`; move it" in done.stderr
    assert "stable" in (tmp_path / "out" / "models.config").read_text()


def test_a_missing_package_is_named(tmp_path):
    code = "import sys; sys.modules['prometheus_client'] = None; from zoo.cli import console; console()"
    done = run_python("serve", LENET, code=code)
    assert done.returncode == 2 and "pip install -e '.[serve]'" in done.stderr
