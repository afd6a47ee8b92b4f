"""The bot's process against an exchange that says whatever it likes."""

from collections.abc import Sequence
from functools import cache

import pytest

from tests.live import answers, connections, frames, klines, quotes, trial
from tests.live.trial import Kind, Setting, Verdict

TABLES: dict[str, tuple[Setting, Sequence[Kind]]] = {
    "replaced": (Setting(), klines.REPLACED + klines.WITHHELD),
    "added": (Setting(), klines.ADDED),
    "running": (Setting(), klines.RUNNING),
    "tickers": (Setting(), quotes.TICKER_KINDS),
    "depth": (Setting(depth=True), quotes.DEPTH_KINDS),
    "spot": (Setting("spot"), quotes.SPOT_KINDS),
    "spoken": (Setting(), frames.SPOKEN),
    "broken off": (Setting(), frames.BROKEN_OFF),
    "connections": (Setting(silence_seconds=2.0), connections.CONNECTIONS),
    "answers": (Setting(), answers.KLINES),
    "funding": (Setting(window_bars=4, hourly=True), answers.FUNDING),
}
KINDS = [kind for _, kinds in TABLES.values() for kind in kinds]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory):
    """The run of a setting that nothing strikes, long enough for every table."""

    @cache
    def run(setting: Setting) -> Verdict:
        longest = max(len(kinds) for other, kinds in TABLES.values() if other == setting)
        verdict = trial.run(tmp_path_factory.mktemp("clean"), setting, (), setting.bars(longest))
        assert not verdict.wrong
        return verdict

    return run


AWAITED = "bounds, counted refusals and the repair policy are not there yet"


@pytest.mark.parametrize(
    "table", [pytest.param(t, marks=pytest.mark.xfail(strict=True, reason=AWAITED)) for t in TABLES]
)
def test_whatever_the_exchange_says_the_bot_decides_every_bar_and_its_ledger_is_the_clean_runs(
    tmp_path, clean, table
):
    setting, kinds = TABLES[table]
    undisturbed = clean(setting)
    found = trial.differences(undisturbed, trial.run(tmp_path, setting, kinds, clean=undisturbed), kinds)
    awaited = {kind.name for kind in kinds if kind.awaits}
    assert not {name: wrong for name, wrong in found.items() if name not in awaited}
    assert awaited == set(found), "these pass now: take their mark away"


def test_there_are_as_many_kinds_as_names():
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names)) >= 95
