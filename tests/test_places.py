"""Where a configuration is, what its paths belong to, and what in the environment was meant for it."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands.parser import complete_parser
from bot.config import Config, as_tree, load
from bot.config_paths import PATHS
from bot.environment import variable_of
from bot.errors import ConfigError
from tests.bot_process import ROOT, environment, run

KEYS = sorted(f"{section}.{key}" for section, keys in as_tree(Config()).items() for key in keys)
# Texts that name no file.
NO_PATHS = {
    "run.interval", "run.category", "run.calendar", "run.timezone", "exchange.rest_url", "exchange.ws_url",
    "exchange.proxy", "strategy.name", "strategy.on_error", "log.format", "log.level", "broker.fill_model",
    "broker.fill_preset", "risk.sizing", "broker.preset",
}  # fmt: skip
PATH_WORDS = {"PATH", "FILE", "DIR", "RECORDING", "DB", "RECORDING|DB"}


def value_of(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def test_every_text_of_the_configuration_is_a_path_or_known_to_be_none():
    tree = as_tree(Config())
    texts = {
        key
        for key in KEYS
        if isinstance(value_of(Config(), key), str) and isinstance(tree[key.partition(".")[0]], dict)
    }
    assert texts - NO_PATHS == set(PATHS)


@pytest.mark.parametrize("key", PATHS)
def test_a_path_of_the_file_belongs_to_its_folder_and_one_said_elsewhere_to_the_working_folder(
    tmp_path, monkeypatch, key
):
    home, project, here = (tmp_path / name for name in ("home", "project", "here"))
    for folder in (home, project, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    section, _, name = key.partition(".")
    for text, expected in (
        ("mine/x", project / "mine/x"),
        ("~/x", home / "x"),
        (f"{tmp_path}/x", tmp_path / "x"),
    ):
        (project / "bot.toml").write_text(f"[{section}]\n{name} = '{text}'\n")
        for named in (project / "bot.toml", "../project/bot.toml"):
            assert os.path.samefile(*made(value_of(load(named, {}, {}), key), expected))
    assert value_of(load(project / "bot.toml", {}, {variable_of(key): "mine/x"}), key) == "mine/x"
    assert value_of(load(None, {}, {variable_of(key): "~/x"}), key) == str(home / "x")
    assert value_of(load(None, {key: "~/x"}, {}), key) == str(home / "x")
    (here / "config.toml").write_text(f"[{section}]\n{name} = 'mine/x'\n")
    for named in (None, "config.toml", "./config.toml", here / "config.toml"):
        assert value_of(load(named, {}, {}), key) == "mine/x"


def made(*paths: object) -> list[Path]:
    for path in paths:
        Path(str(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(str(path)).touch()
    return [Path(str(path)) for path in paths]


def test_the_defaults_belong_to_the_configurations_folder_too(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    config = load("project/config.toml", {}, {})
    assert config.run.database == "project/var/{mode}.db"
    assert config.model.checkpoint == "default"
    assert load("/dev/null", {}, {}) == Config()


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for each in action.choices.values() for inner in actions(each)]
        found.append(action)
    return found


def test_every_option_that_takes_a_path_knows_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/me")
    paths = [action for action in actions(complete_parser()[0]) if action.metavar in PATH_WORDS]
    assert len(paths) > 20
    for action in paths:
        assert callable(action.type), action
        assert action.type("~/x") == "/home/of/me/x", action
        assert action.type("x/~") == "x/~", action
    files = [action for action in paths if action.dest in ("data", "funding")]
    for action in files:
        assert action.type("BTCUSDT=~/x") == "BTCUSDT=/home/of/me/x", action


def slips(variable: str) -> list[str]:
    """What a hand makes of an environment variable's name."""
    words = variable.split("__")
    return [
        "_".join(words),
        f"{words[0]}__{'_'.join(words[1:])}",
        f"{words[0]}_{'__'.join(words[1:])}",
        "___".join(words),
        variable.lower(),
        f"{variable}_",
        f"{variable}S",
        ".".join(words),
        "-".join(words),
    ]


@pytest.mark.parametrize("key", KEYS)
def test_a_variable_that_is_nearly_a_settings_is_one_line_that_names_the_right_one(key):
    variable = variable_of(key)
    for slip in slips(variable):
        if slip == variable or slip in map(variable_of, KEYS):
            continue
        with pytest.raises(ConfigError) as error:
            load(None, {}, {slip: "1"})
        assert slip in str(error.value)
        assert f"{variable} is one" in str(error.value), str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["BOT_TOKEN", "BOT_NAME", "ROBOT__MEMORY__SIZE", "BOT", "MEMORY__SIZE", "BOTTLE"]
)
def test_a_variable_of_something_else_is_nobodys_concern(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert load(None, {}, {name: "1"}) == Config()


SECTIONS = {"memory": "memory = 5", "run": "[run]\ninterval = '15'", "broker": "[broker]\nleverage = 1"}


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("", "BOT__BROKER__TAKER_FEE", "2"),
        ("[broker]\nmaker_fee = 0.001", "BOT__BROKER__TAKER_FEE", "2"),
        ("", "BOT__RUN__CALENDAR", "XNYS"),
        ("[run]\ncalendar = 'XNYS'\ncategory = 'equity'", "BOT__RUN__CATEGORY", "linear"),
        ("", "BOT__RISK__POSITION_FRACTION", "7"),
        ("", "BOT__RUN__SYMBOLS", "BTCUSDT,BTCUSDT"),
        ("", "BOT__EXCHANGE__REST_URL", "ftp://x"),
    ],
)
def test_what_the_environment_has_wrong_is_not_blamed_on_the_file(
    tmp_path, monkeypatch, written, name, value
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(written)
    with pytest.raises(ConfigError) as error:
        load(None, {}, {name: value, "BOT__MEMORY__SIZE": "500"})
    assert str(error.value).startswith(f"environment variable {name}: "), str(error.value)


def test_what_the_file_has_wrong_is_the_files_whatever_else_is_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[broker]\ntaker_fee = 2\n")
    with pytest.raises(ConfigError, match=r"^config.toml: "):
        load(None, {"memory.size": 500}, {"BOT__BROKER__MAKER_FEE": "0.001"})


@given(
    st.sampled_from(KEYS),
    st.sampled_from(["", "x", "-1", "nan", "1e999", "[", "~", "a,b", "true", "ftp://x"]),
)
def test_no_value_of_any_variable_is_blamed_on_anything_else(key, value):
    try:
        load("/dev/null", {}, {variable_of(key): value})
    except ConfigError as error:
        told = str(error)
    else:
        return
    assert told.startswith(f"environment variable {variable_of(key)}: "), told


def test_a_folder_without_a_project_is_told_once(tmp_path):
    note = "no config.toml here; defaults"
    shown = run(tmp_path, "show-config")
    assert (shown.code, shown.err) == (0, note + "\n")
    (line,) = run(tmp_path, "status").err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"({note})")
    (tmp_path / "var").mkdir()
    assert not run(tmp_path, "show-config").err
    (tmp_path / "config.toml").write_text("")
    assert not run(tmp_path, "show-config").err


def test_where_the_bot_cannot_run_one_line_says_what_and_where_it_can():
    as_windows = "import sys; sys.platform = 'win32'; import runpy; runpy.run_path({!r}, run_name='__main__')"
    for script in (ROOT / "run_bot.py", ROOT / "bot" / "__main__.py"):
        ended = subprocess.run(
            [sys.executable, "-c", as_windows.format(str(script))],
            env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True,
        )  # fmt: skip
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert line.startswith("error: ")
        assert "WSL" in line
        assert not ended.stdout


def test_the_effective_configuration_is_shown_with_its_paths_placed(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.toml").write_text("[run]\nhistory = 'h.db'\n")
    shown = msgspec.json.decode(run(tmp_path, "show-config", "--config", "project/config.toml", "--json").out)
    assert shown["run"]["history"] == "project/h.db"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_json_says_every_letter_whatever_the_terminal_knows(tmp_path, encoding):
    text = "± … 币安 \U0001f600 ó"
    (tmp_path / "config.toml").write_text(f"[strategy.options]\nname = '{text}'\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(ROOT / "run_bot.py"), "show-config", "--json"],
        cwd=tmp_path, env=environment(PYTHONIOENCODING=encoding), capture_output=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert msgspec.json.decode(ended.stdout)["strategy"]["options"]["name"] == text
