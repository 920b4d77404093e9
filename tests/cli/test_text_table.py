import pytest

from amsam_monai.cli.text_table import text_table


def test_columns_are_as_wide_as_they_must_and_numbers_stand_to_the_right():
    table = text_table(("name", "MB", "for"), [("a", "5.0", "x"), ("longer", "12.5", "y z"), ("b", "?", "")])
    assert table == "name      MB  for\na        5.0  x\nlonger  12.5  y z\nb          ?"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"a row must have 2 entries, got 1: \['a'\]"):
        text_table(("name", "size"), [("a",)])
