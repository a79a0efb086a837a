"""A record with one bit changed, anywhere, is another record or none: both are seen."""

import json
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomt.files import DamagedFileError, cell, read_record, write_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(record=st.dictionaries(st.text().filter(lambda name: name != "sha256"), JSON))
def test_what_is_written_is_read(tmp_path_factory, record):
    file = tmp_path_factory.mktemp("records") / "a.json"
    write_record(file, record)
    assert read_record(file, "remove it") == record


def test_no_flipped_bit_passes_for_another_record(tmp_path):
    file = tmp_path / "a.json"
    record = {"taps": {"seg": "layer3"}, "sparsity": 0.125, "none": None, "list": [1, 2.5e-7, "é"]}
    write_record(file, record)
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            found = read_record(file, "remove it")
        except DamagedFileError:
            continue
        assert found == record  # a blank became another one


def test_a_record_that_has_lost_its_checksum_is_damaged(tmp_path):
    file = tmp_path / "a.json"
    write_record(file, {"taps": {"seg": "layer3"}})
    file.write_text(json.dumps({"taps": json.loads(file.read_text())["taps"]}))
    with pytest.raises(DamagedFileError, match=r"a\.json is damaged \(it has no checksum, 'sha256'\): remove it$"):
        read_record(file, "remove it")


def test_a_missing_record_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "a.json", "")


def test_no_text_cell_begins_a_formula_and_numbers_stay_numbers():
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(draw.choices("=+-@\t\r" + string.printable, k=4))
        safe = cell(text)
        assert safe in (text, f"'{text}")
        assert safe[:1] not in "=+-@\t\r" or _is_number(safe)
    assert cell(-1.5) == -1.5


def _is_number(text):
    try:
        return float(text) is not None
    except ValueError:
        return False
