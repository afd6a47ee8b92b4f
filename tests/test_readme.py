"""What the README shows works as it stands there."""

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bot.strategy import StrategyConfig
from tests.api import waves
from tests.bot_process import environment
from tests.core import a_config, a_trader, run
from tests.factories import a_bar

README = Path(__file__).parents[1] / "README.md"


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def defined_by(word: str) -> dict[str, Any]:
    """The names that the one Python example with this word defines."""
    (block,) = (block for block in BLOCKS if word in block)
    names: dict[str, Any] = {}
    exec(block, names)
    return names


def test_the_replay_example_passes(monkeypatch):
    monkeypatch.chdir(README.parent)
    example = defined_by("import replay")
    tests = [value for name, value in example.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()


def test_the_strategy_example_trades():
    example = defined_by("class Reversal")
    strategy = example["Reversal"](StrategyConfig(options={"bars": 3}))
    trader = a_trader(a_config("BTCUSDT"), strategy)
    closes = ("100", "101", "102", "103", "99", "98")
    bars = [a_bar(number, close=close) for number, close in enumerate(closes)]
    actions = [step.signal.action for step in run(trader, bars) if step.signal is not None]
    assert actions == ["hold", "hold", "short", "short", "long", "long"]


def test_the_python_example_runs_on_bars_of_that_name(tmp_path):
    """Beside a database of a demo, which here a backtest has made."""
    waves.write(tmp_path)
    bars = tmp_path / "BTCUSDT_mine_1h.csv.gz"
    bars.write_bytes(gzip.compress((tmp_path / waves.NAME).read_bytes()))
    (block,) = (block for block in BLOCKS if "import bot\n" in block)
    made = 'import bot\nbot.backtest(bot.read_bars("BTCUSDT_mine_1h.csv.gz"), "buy_and_hold").save("demo")\n'
    moved = 'import os\nos.replace("var/runs/demo.db", "var/demo.db")\n'
    ended = subprocess.run(
        [sys.executable, "-c", made + moved + block],
        cwd=tmp_path, env=environment(PYTHONPATH=str(README.parent)), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
