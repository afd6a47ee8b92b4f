import json
from pathlib import Path

import pytest

from bot.cli import main
from strategies import STRATEGIES
from tests.model.walks import walk

HOUR_MS = 3_600_000
BEFORE, AFTER = 1_577_836_800_000, 1_704_067_200_000  # 2020 and 2024: the shipped odds end with 2021


def hindsight(folder: Path, capsys: pytest.CaptureFixture[str], first_ms: int) -> str | None:
    """What a backtest of an hourly walk that begins then says of its own weights."""
    rows = [
        f"{first_ms + i * HOUR_MS},{bar.open},{bar.high},{bar.low},{bar.close},1,"
        for i, bar in enumerate(walk(520))
    ]
    file = folder / "BTCUSDT_walk_1h.csv"
    file.write_text("\n".join(["start_ms,open,high,low,close,volume,turnover", *rows, ""]))
    assert main(["backtest", "--data", str(file), "--db", str(folder / "b.db"), "--json"], STRATEGIES) == 0
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
