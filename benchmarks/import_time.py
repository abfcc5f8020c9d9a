"""How long `import zoo`, `zoo list` and their kind take: medians of fresh processes, less Python's own start.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

from contest import given

ROUNDS = 15
COMMANDS = {
    "python alone": "pass",
    "import zoo": "import zoo",
    "zoo.list_models()": "import zoo; zoo.list_models()",
    "zoo.describe('lenet5')": "import zoo; str(zoo.describe('lenet5'))",
    "zoo list": "import sys; sys.argv = ['zoo', 'list']; from zoo.cli import console; console()",
    "zoo --help": "import sys; sys.argv = ['zoo', '--help']; from zoo.cli import console; console()",
}


def main() -> None:
    """Prints the table; the rounds of the commands are interleaved."""
    given(__doc__)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, code in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    alone = statistics.median(times["python alone"])
    for name, values in times.items():
        own = statistics.median(values) - (alone if name != "python alone" else 0)
        print(f"{name:<24} {own * 1000:6.0f} ms")


if __name__ == "__main__":
    main()
