"""Synthesise every shape in one process: `python -m tests.infra FOLDER [--snapshots]`.

Writes each into a folder of its own and says how long it took; with `--snapshots` replaces what
`test_snapshots` compares with.
"""

import argparse
import shutil
import time
from pathlib import Path

from tests.infra.shapes import SHAPES, configured, synthesise
from tests.infra.snapshots import FOLDER, KEPT, write


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--snapshots", action="store_true")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.snapshots:
        shutil.rmtree(FOLDER, ignore_errors=True)
    for shape, document in SHAPES.items():
        folder = arguments.folder / shape
        shutil.rmtree(folder, ignore_errors=True)
        made = synthesise(configured(document), folder)
        if arguments.snapshots and shape in KEPT:
            write(shape, made)
        count = sum(1 for _ in made.resources())
        print(f"{shape:24} {len(made.stacks)} stacks, {count:3} resources")  # noqa: T201
    print(f"{len(SHAPES)} shapes in {time.monotonic() - started:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
