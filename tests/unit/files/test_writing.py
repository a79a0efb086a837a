"""Files are whole or not there, and a file that can't be written is named."""

import errno
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from lomt.files import NotWrittenError, ready, write_atomically, written


@contextmanager
def no_more_than(size):
    """The system refuses to write longer files, as it refuses to write to a full disk: midway."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_can_not_be_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    with (
        no_more_than(1000),
        pytest.raises(NotWrittenError, match=rf"{file} can't be written \(File too large\): choose"),
    ):
        write_atomically(file, b"x" * 5000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_goes_wrong_within_leaves_nothing(tmp_path):
    def stopped():
        with written(tmp_path / "a") as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_which_and_to_make_room(tmp_path):
    file = tmp_path / "not/there/yet"
    said = str(NotWrittenError(file, OSError(errno.ENOSPC, "No space left on device")))
    assert said.startswith(f"{file} can't be written, its disk is full (")
    assert said.endswith("bytes free): make room and give the command again")


def test_the_longest_name_can_be_written(tmp_path):
    file = tmp_path / ("ä" * 125 + ".json")
    write_atomically(file, "x")
    assert file.read_text() == "x"


def test_a_folder_that_can_not_be_is_said_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file/below", Path("/proc/nowhere")):
        with pytest.raises(NotWrittenError, match=rf"{folder} can't be written \(.+\): choose another place"):
            ready(folder)


def test_a_folder_is_made_and_left_empty(tmp_path):
    ready(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []
