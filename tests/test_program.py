"""Texts that name a command to type say it as the program was called."""

import pytest

from bot import program


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("run_bot.py", "run_bot.py"),
        ("/home/me/bot/run_bot.py", "run_bot.py"),
        ("/home/me/.venv/bin/paper-trading-bot", "paper-trading-bot"),
        ("/home/me/bot/bot/__main__.py", "python -m bot"),
        ("/home/me/.venv/lib/pytest/__main__.py", "run_bot.py"),
        ("", "run_bot.py"),
    ],
)
def test_the_program_is_called_what_the_user_typed(monkeypatch, called, name):
    monkeypatch.setattr("sys.argv", [called])
    assert program.name() == name


def test_what_is_to_be_pasted_names_the_interpreter_of_a_clone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr("sys.argv", ["run_bot.py"])
    assert program.call() == ".venv/bin/python run_bot.py"
    monkeypatch.setattr("sys.argv", ["/x/bot/__main__.py"])
    assert program.call() == ".venv/bin/python -m bot"
    monkeypatch.setattr("sys.argv", ["/usr/bin/paper-trading-bot"])
    assert program.call() == "paper-trading-bot"
