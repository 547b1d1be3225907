"""Files of settings are read as they are meant, or refused with the file and what is wrong."""

import pytest

from dnatune.errors import ConfigurationError
from dnatune.settings import experiment, settings_file, site_file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nseeds: [1]\nname: b\n", "line 3: the key 'name' stands twice"),
        ("lora:\n  rank: 1\n  rank: 2\n", "line 3: the key 'rank' stands twice"),
        ('{"name": "a", "lora": {"rank": 1, "rank": 2}}', "the key 'rank' stands twice"),
        ("name: !!python/object/apply:os.system ['touch pwned']\n", "could not determine a constructor"),
        ("name: [1\n", "not valid YAML"),
        ("name: a\x00b\n", "not valid YAML"),
        ("seeds: [" + "9" * 5000 + "]\n", "not valid YAML"),
        ("seeds: " + "[" * 5000, "nested too deep"),
        ("when: 2024-13-45\n", "not valid YAML"),
        (b"name: \xff\n", "not valid YAML"),
        (None, "cannot be read: No such file"),
    ],
)
@pytest.mark.parametrize("read", [settings_file.read, experiment.read, site_file.read_site])
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, monkeypatch, text, told, read):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert told in caught.value.what and caught.value.where == str(path) and caught.value.fix
    assert not (tmp_path / "pwned").exists()


def test_aliases_are_read_and_a_key_that_one_brings_may_be_given_anew(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: *a\n", "utf-8")
    assert settings_file.read(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 1, "y": 2}}


def test_numbers_of_json_are_numbers(tmp_path):
    path = tmp_path / "experiment.json"
    path.write_text('{"rate": 1e-08}', "utf-8")
    assert settings_file.read(path) == {"rate": 1e-08}
