import errno
import json
import multiprocessing
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lomt.data import cache as module
from lomt.data.cache import cache_folder, cached

COUNT = 5


def chunks():
    yield {"a": np.arange(6, dtype=np.uint8).reshape(3, 2), "b": np.ones((3, 4), np.float16)}
    yield {"a": np.arange(6, 10, dtype=np.uint8).reshape(2, 2), "b": np.zeros((2, 4), np.float16)}


def never():
    raise AssertionError("built although the entry is there")


def entries(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def test_builds_once_and_maps_memory(cache):
    first = cached("kind", {"x": 1}, COUNT, chunks)
    again = cached("kind", {"x": 1}, COUNT, never)
    assert isinstance(again["a"], np.memmap)
    for arrays in (first, again):
        np.testing.assert_array_equal(arrays["a"], np.arange(10).reshape(5, 2))
        np.testing.assert_array_equal(arrays["b"][:, 0], [1, 1, 1, 0, 0])
        with pytest.raises(ValueError, match="read-only"):
            arrays["a"][0] = 1
    assert len(entries(cache)) == 1


def test_another_identity_is_another_entry(cache):
    cached("kind", {"x": 1}, COUNT, chunks)
    cached("kind", {"x": 2}, COUNT, chunks)
    assert len(entries(cache)) == 2


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def alter(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def forget(path):
    """Without its last file, and the checksum that says so."""
    record = json.loads(path.read_bytes())
    del record["files"]["b"], record["sha256"]
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "file"),
    [*product([truncate, alter, Path.unlink], ["a.npy", "b.npy", "entry.json"]), (forget, "entry.json")],
)
def test_a_damaged_entry_is_built_again(cache, harm, file):
    cached("kind", {}, COUNT, chunks)
    harm(entries(cache)[0] / file)
    assert set(cached("kind", {}, COUNT, chunks)) == {"a", "b"}
    np.testing.assert_array_equal(cached("kind", {}, COUNT, chunks)["a"], np.arange(10).reshape(5, 2))
    cached("kind", {}, COUNT, never)


def test_a_build_that_fails_leaves_nothing(cache):
    def broken():
        yield next(chunks())
        raise KeyError("file 7")

    with pytest.raises(KeyError, match="file 7"):
        cached("kind", {}, COUNT, broken)
    assert entries(cache) == []


def test_a_killed_build_is_swept_away(cache):
    cached("kind", {}, COUNT, chunks)
    (whole,) = entries(cache)
    shutil.copytree(whole, whole.with_name(f"{whole.name}.partial-1"))
    shutil.rmtree(whole)
    cached("kind", {}, COUNT, chunks)
    assert entries(cache) == [whole]


def test_too_few_samples(cache):
    with pytest.raises(ValueError, match="5 samples were built where 6 were promised"):
        cached("kind", {}, COUNT + 1, chunks)
    assert entries(cache) == []


def test_no_space_is_said_before_anything_is_written(cache, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=rf"{cache}.* can't take 50 bytes .*10 bytes are free.*LOMT_CACHE"):
        cached("kind", {}, COUNT, chunks)
    assert entries(cache) == []


def test_a_disk_that_fills_up_meanwhile(cache, monkeypatch):
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            if self.file.tell() > 120:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    def opened(path, mode="r", **kwargs):
        file = real(path, mode, **kwargs)
        return Full(file) if mode == "wb" else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(OSError, match=rf"{cache}.* can't take 50 bytes .*No space left.*nothing half-written"):
        cached("kind", {}, COUNT, chunks)
    assert entries(cache) == []


def test_a_cache_that_is_a_file(cache, monkeypatch):
    (cache / "file").write_text("x")
    monkeypatch.setenv("LOMT_CACHE", str(cache / "file"))
    with pytest.raises(OSError, match=r"file can't be written .*set LOMT_CACHE"):
        cached("kind", {}, COUNT, chunks)


def count_builds(folder, results):
    def build():
        (Path(folder) / "builds").open("a").write("x")
        yield from chunks()

    results.put(int(cached("kind", {}, COUNT, build)["a"].sum()))


def test_two_processes_build_one_entry(cache):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=count_builds, args=(cache, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    sums = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sums == [45, 45, 45]
    assert (cache / "builds").read_text() == "x"


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("LOMT_CACHE", "~/there")
    assert cache_folder() == Path("~/there").expanduser()
    monkeypatch.delenv("LOMT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/lomt")
