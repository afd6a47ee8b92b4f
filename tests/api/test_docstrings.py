"""The example of each public docstring is run, on generated bars, in an empty folder."""

import doctest
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bot
from bot.api.bars import Bars
from bot.api.session import Session
from bot.cli import main
from tests.api import waves
from tests.eager import ALLOWED

PUBLIC = [getattr(bot, name) for name in bot.__all__ if not name.startswith("__")]
MEMBERS = [
    member.fget if isinstance(member, property) else member
    for kind in (Bars, Session)
    for name, member in vars(kind).items()
    if not name.startswith("_") and (callable(member) or isinstance(member, property))
]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What the examples take for granted: the package, bars, a run, and stored history."""
    folder: Path = tmp_path_factory.mktemp("examples")
    before = Path.cwd()
    os.chdir(folder)
    try:
        waves.write(folder)
        assert main(["import", waves.NAME], ALLOWED) == 0
        bars = bot.read_bars(waves.NAME)
        yield {"bot": bot, "bars": bars, "run": bot.backtest(bars, "moving_average_cross")}
    finally:
        os.chdir(before)


def examples_of(found: Any) -> list[doctest.DocTest]:
    tests = doctest.DocTestFinder(recurse=False).find(found, found.__qualname__, module=False, globs={})
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("found", [*PUBLIC, *MEMBERS], ids=lambda found: found.__qualname__)
def test_an_example_of_the_documentation_does_what_it_says(found, names):
    for test in examples_of(found):
        test.globs = dict(names)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        runner.run(test, out=said.append, clear_globs=False)
        assert runner.failures == 0, "".join(said)


def test_every_function_of_the_package_has_an_example():
    functions = [found for found in PUBLIC if not isinstance(found, type)]
    assert functions
    assert all(examples_of(found) for found in functions)
