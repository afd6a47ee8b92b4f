"""One session under three presets: the band instead of one number."""

import json
import math
from pathlib import Path

import pytest

from bot.cli import main
from tests.bot_process import QUICK, run
from tests.eager import ALLOWED

PRESETS = ["optimistic", "realistic", "pessimistic"]
START_MS = 1_700_006_400_000


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Bars that go up and down in long waves, so that a trend follower trades."""
    path = tmp_path_factory.mktemp("band") / "bars.csv"
    closes = [round(100 + 8 * math.sin(n / 19) + 3 * math.sin(n / 7), 2) for n in range(900)]
    lines = ["start_ms,open,high,low,close,volume,turnover"]
    for n, (before, close) in enumerate(zip([100.0, *closes[:-1]], closes, strict=True)):
        high, low = max(before, close) + 0.2, min(before, close) - 0.2
        lines.append(f"{START_MS + n * 900_000},{before},{high:.2f},{low:.2f},{close},500,")
    path.write_text("\n".join(lines) + "\n")
    return f"BTCUSDT={path}"


def backtest(data: str, folder: Path, *options: str) -> list[str]:
    config = folder / "config.toml"
    config.write_text('[strategy]\nname = "moving_average_cross"\noptions = { fast = 3, slow = 9 }\n')
    return [
        *("backtest", "--config", str(config), "--data", data, "--interval", "15"),
        *("--db", str(folder / "b.db"), *options),
    ]


def test_a_backtests_band_has_every_preset_and_a_kinder_market_leaves_more(data, tmp_path, capsys):
    assert main(backtest(data, tmp_path, "--fills", "all", "--json"), ALLOWED) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["band"]) == PRESETS
    kind, real, bad = (told["band"][preset]["end_equity"] for preset in PRESETS)
    assert kind > real > bad
    # What is written is the configured preset's run, and that is in the band too.
    assert told["end_equity"] == real
    assert told["fills"] == told["band"]["realistic"]["fills"] > 20
    assert main(backtest(data, tmp_path, "--fills", "all"), ALLOWED) == 0
    assert "return between" in capsys.readouterr().out


def test_a_single_preset_is_what_is_run_and_stored(data, tmp_path, capsys):
    assert main(backtest(data, tmp_path, "--fills", "all", "--json"), ALLOWED) == 0
    band = json.loads(capsys.readouterr().out)["band"]
    for preset in PRESETS:
        assert main(backtest(data, tmp_path, "--fills", preset, "--json"), ALLOWED) == 0
        told = json.loads(capsys.readouterr().out)
        assert "band" not in told
        assert told["end_equity"] == band[preset]["end_equity"]


def test_a_report_scores_a_recorded_session_under_every_preset(tmp_path, capsys):
    (tmp_path / "config.toml").write_text(QUICK)
    assert run(tmp_path, "--demo", "--max-bars", "40").code == 0
    arguments = ["report", "--db", str(tmp_path / "demo.db"), "--fills", "all"]
    assert main([*arguments, "--json"], ALLOWED) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["band"]) == PRESETS
    # Replayed as it was configured, the session comes to what it came to.
    assert told["band"]["realistic"]["end_equity"] == pytest.approx(told["performance"]["end_equity"])
    kind, real, bad = (told["band"][preset]["end_equity"] for preset in PRESETS)
    assert kind > real > bad
    assert main(arguments, ALLOWED) == 0
    assert "return between" in capsys.readouterr().out
    assert main([*arguments, "--all"], ALLOWED) == 2


def test_a_session_that_was_not_recorded_has_no_band(tmp_path, capsys):
    (tmp_path / "config.toml").write_text(QUICK)
    assert run(tmp_path, "--demo", "--max-bars", "5", BOT__RUN__RECORDINGS="").code == 0
    assert main(["report", "--db", str(tmp_path / "demo.db"), "--fills", "all"], ALLOWED) == 2
    assert "recorded one" in capsys.readouterr().err
