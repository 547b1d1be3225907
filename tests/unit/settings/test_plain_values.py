"""A configuration holds plain values of a size that can be meant, or is refused with the key."""

import datetime
import math

import pytest

from configurations import changed
from dnatune.errors import ConfigurationError
from dnatune.settings import command_line, experiment
from dnatune.settings.plain_values import without_nulls


def _recursive():
    found = []
    found.append(found)
    return found


def _nested(levels):
    return {"a": _nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "must be a finite number"),
        (10**16, "a number of about 17 digits"),
        (-(10**5000), "a number of about 5001 digits"),
        ("a\x00b", "a text holds the character '\\x00'"),
        ("a\x1bb", "a text holds the character '\\x1b'"),
        ("a\ud800b", "a text holds the character '\\ud800'"),
        ("a\u2028b", "a text holds the character '\\u2028'"),
        ("x" * 10_001, "a text of 10001 letters"),
        ("see hf_" + "a" * 34, "a text looks like an access token"),
        (datetime.date(2024, 1, 1), "a date is no value here"),
        (b"x", "a bytes is no value here"),
        ({1, 2}, "a set is no value here"),
        (_recursive(), "nested more than 20 levels deep"),
        (_nested(900), "nested more than 20 levels deep"),
        ([[0] * 1000] * 51, "more than 50000 values"),
        ({True: 1}, "the key True is no text"),
        ({1: 1}, "the key 1 is no text"),
        ({None: 1}, "the key null is no text"),
        ({"x" * 201: 1}, "a key has 201 letters"),
        ({"hf_" + "a" * 34: 1}, "a key looks like an access token"),
        ({"a\nb": 1}, "the key 'a\\nb' holds the character '\\n'"),
    ],
    ids=range(21),
)
def test_what_is_no_plain_value_is_refused_with_its_key(value, told):
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve(changed("training.deepspeed.some.key", value))
    assert told in caught.value.what and len(str(caught.value)) < 1000
    assert caught.value.where.startswith("config key 'training.deepspeed.some.key")
    assert "aaaa" not in str(caught.value)


def test_what_is_plain_is_kept_but_for_nulls():
    value = {"a": [1, 2.5, True, "two\nlines\tand a tab", None, 10**15], "b": None, "c": {"d": None}}
    assert without_nulls(value, "config", "") == {"a": value["a"], "c": {}}


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 5000, "2024-13-45", "", " ", "{x}", "e", "1e", "0x" + "f" * 60])
def test_text_of_the_command_line_that_is_no_number_stays_text(text):
    assert command_line.read_scalars({"name": text}, {"name": text}) == {"name": text}


def test_what_no_configuration_holds_is_refused_on_the_command_line_too():
    with pytest.raises(ConfigurationError, match="nested more than 20 levels"):
        command_line.read_scalars({"lora": _nested(900)}, {"lora": _nested(900)})
