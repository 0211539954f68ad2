"""Gets the wheels that the images install, with this machine's own pip.

    python -m tools.laptop.wheels

Whatever index, mirror or proxy this machine's pip is set up with is then good for the images too,
and a build needs no network. It is a convenience: where it fails, the build asks pip itself.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
WHEELS: Final = ROOT / "build" / "wheels"
REQUIREMENTS: Final = ("build", "runtime", "lambda")
PYTHON_VERSION: Final = "3.13"
ARCHITECTURES: Final = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64"}
GLIBC: Final = (36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)
"""Debian bookworm has version 2.36; wheels for older ones fit."""


def architecture() -> str:
    """Return the processor that images are built for, as wheels name it."""
    asked = ["docker", "version", "--format", "{{.Server.Arch}}"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return ARCHITECTURES.get(answer, answer)


def fetch(folder: Path) -> int:
    """Download what is missing, checked by hash; return pip's exit code."""
    processor = architecture()
    platforms = [f"manylinux_2_{minor}_{processor}" for minor in GLIBC]
    platforms += [f"manylinux2014_{processor}", "any"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--python-version", PYTHON_VERSION, "--implementation", "cp"]
    command += ["--abi", "cp313", "--abi", "abi3", "--abi", "none"]
    for platform in platforms:
        command += ["--platform", platform]
    for name in REQUIREMENTS:
        command += ["--requirement", str(ROOT / "requirements" / f"{name}.txt")]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def wanted() -> str:
    """Return a digest of the requirements and the processor: it changes with the wheels."""
    digest = hashlib.sha256(architecture().encode())
    for name in REQUIREMENTS:
        digest.update((ROOT / "requirements" / f"{name}.txt").read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Fetch the wheels, unless those that are there are the right ones."""
    mark = WHEELS.parent / "wheels.sha256"
    digest = wanted()
    if WHEELS.is_dir() and mark.exists() and mark.read_text(encoding="utf-8") == digest:
        return 0
    shutil.rmtree(WHEELS, ignore_errors=True)
    mark.unlink(missing_ok=True)
    WHEELS.mkdir(parents=True)
    sys.stderr.write("fetching the wheels for the images\n")
    if fetch(WHEELS) == 0:
        mark.write_text(digest, encoding="utf-8")
    else:
        shutil.rmtree(WHEELS)
        sys.stderr.write("not all of them could be had here: the build will fetch them itself\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
