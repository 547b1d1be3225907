"""A locale that would change the text of a configuration is refused, and jobs have none that does."""

import os
import sys

import pytest

from dnatune.errors import ConfigurationError
from dnatune.launch import job_environment


def test_letters_beyond_ascii_need_a_locale_of_utf_8(monkeypatch):
    config = {"tasks": [{"labels": ["α", "β"]}]}
    job_environment.refuse_locale(config)
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    job_environment.refuse_locale({"tasks": [{"labels": ["a", "b"]}]})
    with pytest.raises(ConfigurationError, match="encoding is iso8859-1") as caught:
        job_environment.refuse_locale(config)
    assert "PYTHONUTF8=1" in caught.value.fix


def test_jobs_read_text_as_utf_8_whatever_the_locale(monkeypatch, tmp_path):
    for name in ("PATH", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8"):
        monkeypatch.setenv(name, "")
    job_environment.prepare(tmp_path, [], {})
    assert os.environ["PYTHONUTF8"] == "1"
