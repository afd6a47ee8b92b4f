"""The bot's process against an exchange that says whatever it likes."""

from collections.abc import Sequence
from dataclasses import replace
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
    "connections": (Setting(silence_seconds=4.0, lanes=3), connections.CONNECTIONS),
    "answers": (Setting(lanes=4), answers.KLINES),
    "funding": (Setting(window_bars=4, hourly=True, lanes=2), answers.FUNDING),
}


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory):
    """The run that nothing strikes, of a setting that is the same but for its lanes, long enough for every table."""

    @cache
    def run(setting: Setting) -> Verdict:
        longest = max(
            -(-len(kinds) // other.lanes)
            for other, kinds in TABLES.values()
            if replace(other, lanes=1) == setting
        )
        verdict = trial.undisturbed(tmp_path_factory.mktemp("clean"), setting, longest)
        assert not verdict.wrong
        return verdict

    return run


@pytest.mark.parametrize("table", TABLES)
def test_whatever_the_exchange_says_the_bot_decides_every_bar_and_its_ledger_is_the_clean_runs(
    tmp_path, clean, table
):
    setting, kinds = TABLES[table]
    wrong = trial.run(tmp_path, setting, kinds, clean(replace(setting, lanes=1)))
    assert not wrong, "\n".join(f"{name}: {'; '.join(what)}" for name, what in wrong.items())


def test_every_kind_has_a_name_of_its_own():
    names = [(table, kind.name) for table, (_, kinds) in TABLES.items() for kind in kinds]
    assert len(names) == len(set(names)) >= 95
