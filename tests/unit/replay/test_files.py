import os
import pickle
from pathlib import Path

import pytest

from worker.core.errors import ConfigurationError
from worker.replay.files import CHUNK_BYTES, CHUNK_FILES, LogFile, chunks, find_files

PIPE_BYTES = 65_536


def test_folders_are_walked_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/10.json", "a/z/1.json", "a/1.json", "c.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "empty").mkdir()
    found = list(find_files([str(tmp_path)]))
    assert [os.path.relpath(file.path, tmp_path) for file in found] == [
        "c.json",
        "a/1.json",
        "a/z/1.json",
        "b/10.json",
        "b/2.json",
    ]
    assert {file.size_bytes for file in found} == {5}


def test_paths_are_taken_as_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.json").touch()
    Path("folder").mkdir()
    Path("folder/two.json").touch()
    assert [file.path for file in find_files(["folder", "one.json", "one.json"])] == [
        "folder/two.json",
        "one.json",
        "one.json",
    ]


def test_what_cannot_be_replayed_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="no such file or folder") as raised:
        list(find_files(["nowhere"]))
    assert "nowhere" in str(raised.value)


def test_links_to_folders_and_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.json").touch()
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    found = [os.path.relpath(file.path, tmp_path) for file in find_files([str(tmp_path)])]
    assert found == ["broken", "circle", "real/1.json"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "1.json").touch()
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = [file.path for file in find_files([str(tmp_path)])]
    assert found == [str(tmp_path / "1.json"), str(closed)]


@pytest.mark.parametrize(
    "files",
    [
        [LogFile("x" * 4_096, 0)] * 200,
        [LogFile("ü" * 1_000, 1)] * 200,
        [LogFile("x", CHUNK_BYTES)] * 5,
        [LogFile("x", 0)] * (2 * CHUNK_FILES + 1),
        [],
    ],
)
def test_chunks_hold_every_file_once_and_fit_into_a_pipe(files: list[LogFile]) -> None:
    """Otherwise sending one could wait for a child that waits for its parent."""
    made = list(chunks(iter(files)))
    assert [file for chunk in made for file in chunk] == files
    assert all(len(pickle.dumps(chunk)) < PIPE_BYTES for chunk in made)
    assert all(0 < len(chunk) <= CHUNK_FILES for chunk in made)
