import logging

import numpy as np
import pytest
from PIL import ImageFont

from lomt.prediction import legend as room
from lomt.prediction.legend import ROW, SIZE, _font, legend

RED, BLUE = (255, 0, 0), (0, 0, 255)


def ink(names):
    """Where something is written, beside the boxes."""
    return np.asarray(legend(names, [RED] * len(names)).convert("L"))[:, ROW // 2 + SIZE + 5 :] < 128


def test_every_class_has_its_colour_and_its_text():
    picture = legend(["floor", "wall"], [RED, BLUE])
    for index, colour in enumerate((RED, BLUE)):
        assert picture.getpixel((ROW // 2 + SIZE // 2, ROW // 2 + ROW * index + SIZE // 2)) == colour
    rows = ink(["floor", "wall"])
    assert rows[ROW // 2 : ROW // 2 + SIZE].any()
    assert rows[ROW // 2 + ROW : ROW // 2 + ROW + SIZE].any()
    assert not rows[:, -ROW // 2 :].any()  # nothing is cut off


def test_plain_names_look_the_same_wherever_they_are_drawn(monkeypatch):
    assert _font("chair (other) 3-D, 90 %")[0].getname() == ("Aileron", "Regular")
    before = legend(["wall"], [RED]).tobytes()
    monkeypatch.setattr(room, "SYSTEM", ())
    assert legend(["wall"], [RED]).tobytes() == before


def test_letters_that_no_font_has_are_question_marks_and_a_warning_says_so(monkeypatch, caplog):
    monkeypatch.setattr(room, "SYSTEM", ("no-such-font.ttf",))
    caplog.set_level(logging.WARNING, "lomt")
    assert np.array_equal(ink(["Tür", "\u5e8a"]), ink(["T?r", "?"]))
    assert "no font here has the letters ü\u5e8a of class names" in caplog.text


def test_a_font_of_the_system_is_taken_where_it_has_the_letters(caplog):
    try:
        ImageFont.truetype("DejaVuSans.ttf", SIZE)
    except OSError:
        pytest.skip("no DejaVu here")
    assert _font("Größe, Wände, Дом")[0].getname() == ("DejaVu Sans", "Book")
    assert not np.array_equal(ink(["Größe"]), ink(["Gr??e"]))
    assert not caplog.records
