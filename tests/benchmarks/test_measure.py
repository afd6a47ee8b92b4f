import cProfile
import pstats
from pathlib import Path

import pytest

from benchmarks.measure import Result, bot, cost, percentile, rate, shares_by_room, table

STATS = {
    # function: (calls, primitive calls, own time, time with what it called, callers)
    ("/house/bot/model/memory.py", 1, "recall"): (1, 1, 1.0, 8.0, {}),
    ("/house/bot/store/steps.py", 1, "append"): (1, 1, 1.0, 2.0, {}),
    ("/other/faiss.py", 1, "search"): (1, 1, 2.0, 7.0, {("/house/bot/model/memory.py", 1, "recall"): (1, 1, 2.0, 7.0)}),
    ("~", 0, "scan"): (1, 1, 5.0, 5.0, {("/other/faiss.py", 1, "search"): (1, 1, 5.0, 5.0)}),
    ("~", 0, "poll"): (1, 1, 1.0, 1.0, {}),
}  # fmt: skip


def test_what_a_room_has_called_in_other_peoples_code_counts_for_that_room():
    shares = shares_by_room(STATS, Path("/house"))
    assert list(shares) == ["bot/model", "bot/store", "elsewhere"]
    assert shares["bot/model"] == pytest.approx(0.8)
    assert shares["bot/store"] == pytest.approx(0.1)


def test_the_shares_of_a_real_profile_sum_to_one():
    profile = cProfile.Profile()
    profile.runcall(sorted, [3, 1, 2], key=lambda value: -value)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # typeshed does not know it
    shares = shares_by_room(stats, Path(__file__).resolve().parents[2])
    assert sum(shares.values()) == pytest.approx(1.0)
    assert "tests" in shares


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_the_smallest_value_that_this_share_does_not_exceed(share: float, expected: int):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_ratio_above_one_is_always_better_than_the_yardstick():
    assert rate("bars", 30.0, 10.0, unit="bars/s").ratio == 3.0
    assert cost("time", 10.0, 30.0, unit="ms").ratio == 3.0
    assert cost("time", 10.0, unit="ms").ratio is None


def test_the_settings_of_whoever_measures_do_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOT__MEMORY__SIZE", "1")
    _, environment = bot("backtest", settings={"strategy.name": "buy_and_hold"})
    assert "BOT__MEMORY__SIZE" not in environment
    assert environment["BOT__STRATEGY__NAME"] == "buy_and_hold"


def test_the_table_shows_every_result_with_its_note():
    lines = table([Result(name="core", value=12_345.6, unit="bars/s", note="quiet")]).splitlines()
    assert lines[1].split() == ["core", "12,346", "bars/s", "quiet"]
