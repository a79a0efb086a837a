"""Text that every Python has."""

import sys

import pytest
import torch

from lomt.llm.corpus import library_files, library_tokens


@pytest.fixture
def library(tmp_path):
    """A standard library of a few files, with what is left out."""
    names = [f"{name}.py" for name in sorted(sys.stdlib_module_names)[:60]]
    for name in (*names, "encodings/cp437.py", "unittest/test/a.py", "not_of_it.py", "json/decoder.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path


def test_each_file_is_in_one_split_and_keeps_it(library):
    splits = {split: library_files(split, library) for split in ("train", "validation", "test")}
    names = [path.relative_to(library).as_posix() for files in splits.values() for path in files]
    assert len(names) == len(set(names)) == 61
    assert "json/decoder.py" in names
    assert not {"encodings/cp437.py", "unittest/test/a.py", "not_of_it.py"} & set(names)
    (library / names[0]).unlink()
    (library / names[1]).write_text("changed")
    kept = {path for files in splits.values() for path in files} - {library / names[0]}
    for split, files in splits.items():
        assert library_files(split, library) == [path for path in files if path in kept]
    assert len(splits["train"]) > len(splits["test"]) + len(splits["validation"])


def test_tokens_are_the_bytes_of_the_files(library):
    files = library_files("test", library)
    joined = b"".join(path.read_bytes() for path in files)
    assert bytes(library_tokens("test", library).tolist()) == joined
    assert library_tokens("test", library).dtype == torch.int64


def test_this_python_has_text():
    assert len(library_tokens("validation")) > 100_000


def test_a_library_without_sources_or_a_split_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no sources .*give a text of your own"):
        library_files("train", tmp_path)
    with pytest.raises(ValueError, match="split is 'held-out': there are train, validation, test"):
        library_files("held-out", tmp_path)
