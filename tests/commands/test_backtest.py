import json
from pathlib import Path

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.bot_process import run
from tests.model.walks import walk

HOUR_MS = 3_600_000
BEFORE, AFTER = 1_577_836_800_000, 1_704_067_200_000  # 2020 and 2024: the shipped odds end with 2021


def an_hourly_walk(folder: Path, first_ms: int) -> str:
    """A file of 520 bars from then on."""
    rows = [
        f"{first_ms + i * HOUR_MS},{bar.open},{bar.high},{bar.low},{bar.close},1,"
        for i, bar in enumerate(walk(520))
    ]
    file = folder / "BTCUSDT_walk_1h.csv"
    file.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]))
    return str(file)


def hindsight(folder: Path, capsys: pytest.CaptureFixture[str], first_ms: int) -> str | None:
    """What a backtest of an hourly walk that begins then says of its own weights."""
    file = an_hourly_walk(folder, first_ms)
    assert main(["backtest", "--data", file, "--db", str(folder / "b.db"), "--json"], STRATEGIES) == 0
    told: str | None = json.loads(capsys.readouterr().out)["hindsight"]
    return told


def test_decisions_that_the_weights_know_the_outcome_of_are_told(tmp_path, capsys):
    told = hindsight(tmp_path, capsys, BEFORE)
    assert told is not None
    assert "until 2021-12-" in told


@pytest.mark.parametrize(
    ("first_ms", "setting"),
    [
        (AFTER, ("BOT__LOG__LEVEL", "error")),
        (BEFORE, ("BOT__MODEL__CHECKPOINT", "")),
        (BEFORE, ("BOT__STRATEGY__NAME", "moving_average_cross")),
    ],
    ids=["later bars", "nothing trained", "no memory asked"],
)
def test_where_no_weight_has_seen_what_came_nothing_is_told(tmp_path, capsys, monkeypatch, first_ms, setting):
    monkeypatch.setenv(*setting)
    assert hindsight(tmp_path, capsys, first_ms) is None


@pytest.mark.parametrize("first_ms", [BEFORE, AFTER], ids=["earlier bars", "later bars"])
def test_a_demo_on_a_file_tells_it_too(tmp_path, first_ms):
    file = an_hourly_walk(tmp_path, first_ms)
    ended = run(tmp_path, "--demo", "--data", file, "--max-bars", "3")
    assert ended.code == 0, ended
    assert ("IN-SAMPLE" in ended.out) == (first_ms == BEFORE)
    assert ("learned from outcomes until 2021-12-" in ended.out) == (first_ms == BEFORE)
