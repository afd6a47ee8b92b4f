"""A signal at any turn of the loop while a session comes up ends it, whatever that turn waits for."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from bot import cli
from bot.commands.stopping import Stop
from bot.sessions import warm_up
from tests.books import rows
from tests.bot_process import QUICK
from tests.eager import ALLOWED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TURNS = 24
"""So many places, evenly between the first turn at which signals are heard and the one that goes live."""


class Turns(asyncio.SelectorEventLoop):
    """A loop that counts its turns and does a deed at one of them."""

    def __init__(self, deed_at: int = -1, deed=lambda: None) -> None:
        super().__init__()
        self.count = 0
        self._deed_at, self._deed = deed_at, deed

    def _run_once(self) -> None:
        self.count += 1
        if self.count == self._deed_at:
            self.call_soon(self._deed)
        super()._run_once()


def session(folder: Path, monkeypatch, loop: Turns) -> int:
    """A demo session of two bars on this loop; its exit code."""
    folder.mkdir()
    (folder / "config.toml").write_text(QUICK.replace("warmup_bars = 400", "warmup_bars = 60"))
    monkeypatch.chdir(folder)

    async def bounded(main):
        # One that its signal does not end is cancelled: the test fails, and nothing hangs.
        async with asyncio.timeout(40):
            return await main

    def run(main):
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(bounded(main))

    monkeypatch.setattr(asyncio, "run", run)
    return cli.main(["--demo", "--max-bars", "2"], ALLOWED)


@pytest.fixture(scope="module")
def turns(tmp_path_factory) -> list[int]:
    """Turns of a session's start, the last one the one that goes live."""
    heard: dict[str, int] = {}
    loop = Turns()
    with pytest.MonkeyPatch.context() as patch:
        on_signals, goes_live = Stop.on_signals, Stop.live

        def first(stop):
            heard["first"] = loop.count
            return on_signals(stop)

        def last(stop, stream):
            heard["last"] = loop.count
            goes_live(stop, stream)

        patch.setattr(Stop, "on_signals", first)
        patch.setattr(Stop, "live", last)
        assert session(tmp_path_factory.mktemp("turns") / "counted", patch, loop) == 0
    first_turn, length = heard["first"] + 1, heard["last"] - heard["first"]
    assert length > 100
    return [first_turn + length * place // (TURNS - 1) for place in range(TURNS)]


@pytest.mark.parametrize("place", range(TURNS))
def test_a_signal_at_any_turn_of_the_start_ends_the_session(turns, place, tmp_path, monkeypatch, capsys):
    number = SIGNALS[place % len(SIGNALS)]
    loop = Turns(turns[place], lambda: os.kill(os.getpid(), number))
    before = [signal.getsignal(each) for each in SIGNALS]
    assert session(tmp_path / "demo", monkeypatch, loop) == 0
    assert [signal.getsignal(each) for each in SIGNALS] == before
    database = tmp_path / "demo" / "demo.db"
    # One that came to no session leaves no database.
    ended = rows(database, "SELECT exit_reason FROM sessions") if database.exists() else []
    assert {row["exit_reason"] for row in ended} <= {number.name}
    told = capsys.readouterr()
    assert number.name in told.out + told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("number", SIGNALS)
def test_a_session_ends_even_where_something_on_its_way_up_swallows_the_cancellation(
    number, tmp_path, monkeypatch, capsys
):
    """As a library does that waits for what it has cancelled itself just then."""
    observe = warm_up.observe

    async def swallows(*arguments):
        observed = await observe(*arguments)
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return observed
        raise AssertionError("nothing was cancelled")

    monkeypatch.setattr(warm_up, "observe", swallows)
    assert session(tmp_path / "demo", monkeypatch, Turns()) == 0
    (ended,) = rows(tmp_path / "demo" / "demo.db", "SELECT exit_reason FROM sessions")
    assert ended["exit_reason"] == number.name
    assert not rows(tmp_path / "demo" / "demo.db", "SELECT 1 FROM signals")
    assert f"ended: {number.name}" in capsys.readouterr().out
