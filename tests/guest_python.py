"""CPython's own words: programs run as `python3 main.py` by the guest image's Python, all in one container."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

IMAGE = "airlock-guest:latest"
_RUNNER = """
import json, os, subprocess, sys, tempfile
ran = []
for code in json.load(sys.stdin):
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "main.py"), "w", encoding="utf-8") as file:
            file.write(code)
        done = subprocess.run([sys.executable, "-I", "main.py"], cwd=place, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        ran.append([done.returncode, done.stdout, done.stderr.replace(os.path.join(place, "main.py"), "main.py")])
json.dump(ran, sys.stdout)
"""


@dataclass(frozen=True)
class Ran:
    """How a program ended in CPython."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error_type(self) -> str | None:
        """The uncaught exception's bare type name."""
        lines = self.stderr.strip().splitlines()
        match = re.match(r"(?:\w+\.)*(\w+)(?::|$)", lines[-1]) if self.exit_code and lines else None
        return match[1] if match else None


def run_all(programs: Mapping[str, str], image: str = IMAGE) -> dict[str, Ran]:
    command = ["docker", "run", "--rm", "-i", "--network", "none", "--user", "65532:65532"]
    command += ["--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp", image, "python3", "-I", "-c", _RUNNER]
    done = subprocess.run(
        command, input=json.dumps(list(programs.values())), capture_output=True, text=True, timeout=170, check=True
    )
    return {name: Ran(*ran) for name, ran in zip(programs, json.loads(done.stdout), strict=True)}
