"""Files as context."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_kernel import files
from rlm_kernel.errors import UsageError


def test_a_text_is_itself_byte_for_byte(tmp_path: Path) -> None:
    content = "\ufeffone\r\ntwo\x00 ä\r"
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())

    assert files.load(path) == content


def test_what_is_no_text_is_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\xff\xfe\x00")

    assert files.load(path) == b"\xff\xfe\x00"


def test_a_folder_is_a_dict_of_its_texts_without_what_was_installed_or_hidden(tmp_path: Path) -> None:
    for name in ("a.txt", "deep/er/b.py", ".git/config", "deep/__pycache__/b.pyc", "x/site-packages/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00\xff")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert files.load(tmp_path) == {"a.txt": "a.txt", "deep/er/b.py": "deep/er/b.py"}


def test_what_cannot_be_read_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        files.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no text file"):
        files.load(tmp_path / "empty")
