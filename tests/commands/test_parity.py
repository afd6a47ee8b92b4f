"""A recorded session and a backtest over its bars: the same decisions, and where no quote is needed, the same fills."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot.cli import main
from bot.commands.parity_session import Parity, compare
from bot.market import Bar, Book
from bot.store.recording.reader import Recording
from bot.strategy import Situation, StrategyConfig
from bot.trading.events import Signal
from tests.books import audit, rows
from tests.bot_process import QUICK, run, start, wait_for
from tests.eager import ALLOWED, Eager
from tests.store.recording.test_recording import recorded

OWN = ALLOWED.values()
BRACKETS = QUICK.replace("tests.eager:Eager", "tests.test_kill_brackets:Bracketed")


def sessions(folder: Path, fill_model: str, config: str = QUICK) -> list[Path]:
    """Recordings of a session that was killed with orders resting, and of the one that went on from there."""
    (folder / "config.toml").write_text(config)
    log, model = folder / "log", {"BOT__BROKER__FILL_MODEL": fill_model}
    with start(folder, "--demo", log=log, **model) as process:
        wait_for(log, '"bar_decided"', 60)
        process.send_signal(signal.SIGKILL)
    assert run(folder, "--demo", "--max-bars", "30", **model).code == 0
    return sorted((folder / "var" / "recordings").iterdir())


@pytest.fixture(scope="module")
def quoted(tmp_path_factory) -> list[Path]:
    return sessions(tmp_path_factory.mktemp("quoted"), "quote")


@pytest.mark.parametrize("config", [QUICK, BRACKETS])
def test_under_the_bar_rule_nothing_differs(tmp_path, config):
    for recording in sessions(tmp_path, "bar", config):
        found = compare(Recording.read(recording, allowed=OWN))
        assert found.findings == ()
        assert found.fill_model == "bar"
        assert found.decisions >= 60
        assert found.fills > 5


def test_what_quotes_priced_is_all_that_differs_and_every_difference_has_its_cause(quoted):
    for recording in quoted:
        found = compare(Recording.read(recording, allowed=OWN))
        assert found.unexplained == 0
        assert found.decisions >= 60
        kinds = {finding.kind for finding in found.findings}
        # What this strategy decides does not depend on what it holds.
        assert "fill" in kinds
        assert "decision" not in kinds
        assert any("priced by quote" in (finding.cause or "") for finding in found.findings)


def test_a_session_priced_by_the_book_walks_its_depth_and_verifies(tmp_path):
    killed, restarted = sessions(tmp_path, "book", BRACKETS)
    database = tmp_path / "demo.db"
    fills = rows(database, "SELECT * FROM fills WHERE NOT late ORDER BY id")
    assert {fill["rule"] for fill in fills} == {"book"}
    assert len(fills) > 5
    audit(database)
    for recording in (killed, restarted):
        assert any(isinstance(entry, Book) for entry in Recording.read(recording, allowed=OWN))
        assert compare(Recording.read(recording, allowed=OWN)).unexplained == 0
        out = ["--db", str(tmp_path / "replay.db")]
        assert main(["replay", str(recording), *out, "--verify", str(database)], ALLOWED) == 0


def with_outages(recording: Recording) -> Iterator[Any]:
    """What the session would have seen, had no quote come during every other thirty bars: those are late."""
    bars, away = 0, False
    for entry in recording:
        if isinstance(entry, Bar):
            bars += 1
            away ^= bars % 30 == 0
            yield replace(entry, late=away)
        elif not away:
            yield entry


def test_what_a_late_bar_filled_otherwise_after_quotes_has_its_cause_too(tmp_path):
    (tmp_path / "config.toml").write_text(BRACKETS)
    assert run(tmp_path, "--demo", "--max-bars", "200").code == 0
    (path,) = (tmp_path / "var" / "recordings").iterdir()
    recording = Recording.read(path, allowed=OWN)
    (tmp_path / "outages").mkdir()
    changed = recorded(tmp_path / "outages", list(with_outages(recording)), header=recording.header)
    found = compare(Recording.read(changed, allowed=OWN))
    assert found.unexplained == 0
    assert any("held or waited for" in (finding.cause or "") for finding in found.findings)
    assert found.fills > 30


def test_a_database_stands_for_its_last_recorded_session(quoted, tmp_path, capsys):
    database = quoted[-1].parents[2] / "demo.db"
    assert main(["parity", str(database), "--json"], ALLOWED) == 0
    assert json.loads(capsys.readouterr().out)["recording"] == str(quoted[-1])
    assert main(["parity", str(quoted[0])], ALLOWED) == 0
    told = capsys.readouterr().out
    assert "fill model quote" in told
    assert "priced by quote in the session, by bars here" in told
    assert "UNEXPLAINED" not in told
    assert main(["parity", str(tmp_path / "none.db")], ALLOWED) == 2
    (tmp_path / "text").write_text("no recording")
    assert main(["parity", str(tmp_path / "text")], ALLOWED) == 2


class Moody(Eager):
    """Eager, but every second one that is built never trades: nothing that it was told explains that."""

    built = 0

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        type(self).built += 1
        self._idle = type(self).built % 2 == 0

    def decide(self, situation: Situation) -> Signal:
        if self._idle:
            return Signal(action="hold", reason="idle")
        return super().decide(situation)


def test_a_difference_without_a_cause_is_named_and_fails(quoted, tmp_path, capsys):
    recording = Recording.read(quoted[0])
    header = replace(recording.header, strategy="tests.commands.test_parity:Moody")
    changed = recorded(tmp_path, list(recording), header=header)
    assert main(["parity", str(changed)], ALLOWED) == 1
    assert "UNEXPLAINED" in capsys.readouterr().out
    assert main(["parity", str(changed), "--json"], ALLOWED) == 1
    found = json.loads(capsys.readouterr().out)
    first = next(finding for finding in found["findings"] if finding["cause"] is None)
    assert first["kind"] == "decision"
    assert "idle" in first["in_session"] + first["in_backtest"]
    assert set(found) == set(Parity.__struct_fields__)
