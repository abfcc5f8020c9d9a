"""The server under load, for a few seconds; benchmarks/serving_load.py measures more."""

import re

import pytest

from conftest import ROOT, run_python


def test_no_response_is_lost_or_wrong_while_versions_change():
    arguments = ("--seconds", 6, "--clients", 16, "--swap-seconds", 1.5, "--poll-seconds", "0.2")
    done = run_python(ROOT / "benchmarks" / "serving_load.py", *arguments, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"errors and wrong answers: 0 $", done.stdout, re.MULTILINE)) == 2
    assert int(re.search(r"versions that took over: (\d+)", done.stdout)[1]) >= 2
    assert "exit status after SIGTERM: 0" in done.stdout


@pytest.mark.full
def test_batching_is_measured_beside_none():
    done = run_python(
        ROOT / "benchmarks" / "serving_batching.py", "--seconds", 2, "--rounds", 1, "--clients", 8, timeout=300
    )
    assert done.returncode == 0 and re.search(r"batching on / off: [\d.]+ with 8 clients", done.stdout), done.stderr
