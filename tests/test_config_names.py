"""Earlier names of settings: read for one more release with a note, from recordings for ever."""

import json

import pytest

from bot.cli import main
from bot.config import Config, as_tree, from_json, load
from bot.config_names import KEYS
from bot.errors import ConfigError
from strategies import STRATEGIES

VALUES = {"broker.fills": ("brutal", "pessimistic"), "risk.stand_down_claims": (7, 7)}


def value_of(config: Config, dotted: str) -> object:
    section, _, key = dotted.partition(".")
    return getattr(getattr(config, section), key)


@pytest.mark.parametrize("earlier", KEYS)
def test_an_earlier_name_says_the_same_in_a_file_the_environment_and_a_recording(earlier, tmp_path):
    said, meant = VALUES[earlier]
    section, _, key = earlier.partition(".")
    path, notes = tmp_path / "config.toml", []
    path.write_text(f"[{section}]\n{key} = {json.dumps(said)}\n")
    assert value_of(load(path, {}, {}, note=notes.append), KEYS[earlier]) == meant
    path.write_text("")
    variable = {f"BOT__{section}__{key}".upper(): str(said)}
    assert value_of(load(path, {}, variable, note=notes.append), KEYS[earlier]) == meant
    assert len(notes) == 2
    assert all(KEYS[earlier].partition(".")[2] in note.lower() for note in notes)
    tree = as_tree(Config())
    del tree[section][KEYS[earlier].partition(".")[2]]
    tree[section][key] = said
    assert value_of(from_json(json.dumps(tree), {}, "it"), KEYS[earlier]) == meant


@pytest.mark.parametrize("earlier", KEYS)
def test_a_present_name_stands_before_an_earlier_one_and_gets_no_note(earlier, tmp_path):
    section = earlier.partition(".")[0]
    path, notes = tmp_path / "config.toml", []
    path.write_text(f"[{section}]\n{KEYS[earlier].partition('.')[2]} = {json.dumps(VALUES[earlier][1])}\n")
    assert value_of(load(path, {}, {}, note=notes.append), KEYS[earlier]) == VALUES[earlier][1]
    assert notes == []


def test_a_wrong_value_under_an_earlier_name_is_one_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[broker]\nfills = "kind"\n')
    with pytest.raises(ConfigError, match=r"broker\.fill_preset = kind"):
        load(path, {}, {})


def test_the_command_line_says_once_that_a_name_is_an_earlier_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('[broker]\nfills = "brutal"\n')
    assert main(["show-config", "--json"], STRATEGIES) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["broker"]["fill_preset"] == "pessimistic"
    (line,) = told.err.splitlines()
    assert line.startswith("note: config.toml: broker.fills is called broker.fill_preset now")
