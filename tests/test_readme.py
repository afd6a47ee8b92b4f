"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

from bot.strategy import StrategyConfig
from tests.core import a_config, a_trader, run
from tests.factories import a_bar

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[dict[str, Any]]:
    """The names that each Python example defines."""
    defined = []
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        names: dict[str, Any] = {}
        exec(block, names)
        defined.append(names)
    return defined


def test_the_replay_example_passes(monkeypatch):
    monkeypatch.chdir(README.parent)
    (example,) = (names for names in python_blocks() if "replay" in names)
    tests = [value for name, value in example.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()


def test_the_strategy_example_trades():
    (example,) = (names for names in python_blocks() if "Reversal" in names)
    strategy = example["Reversal"](StrategyConfig(options={"bars": 3}))
    trader = a_trader(a_config("BTCUSDT"), strategy)
    closes = ("100", "101", "102", "103", "99", "98")
    bars = [a_bar(number, close=close) for number, close in enumerate(closes)]
    actions = [step.signal.action for step in run(trader, bars) if step.signal is not None]
    assert actions == ["hold", "hold", "short", "short", "long", "long"]
