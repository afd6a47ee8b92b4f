"""Whatever the streams lead to, no command hangs, dies of it, or says that all is well where nothing was said."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.commands.parser import complete_parser
from tests.bot_process import QUICK, run
from tests.sinks import SINKS, Case, run_all

HEADER = "start_ms,open,high,low,close,volume,turnover\n"
BARS = HEADER + "".join(f"{1704067200000 + 900_000 * k},10,12,9,11,5,50\n" for k in range(40))

# What each command is asked, in a folder where a demo session is over. What takes seconds or a network gets as far
# as its own first refusal: what it prints goes the same way.
COMMANDS = {
    "backtest": ["backtest", "--data", "nothing.csv"],
    "replay": ["replay", "nothing.rec.zst"],
    "import": ["import", "BTCUSDT_my_15m.csv", "--history", "history.db"],
    "fetch": ["fetch", "--demo", "--since", "2024-01-01"],
    "train": ["train", "--steps", "none"],
    "evaluate": ["evaluate", "--data", "nothing.csv"],
    "parity": ["parity", "nothing.rec.zst"],
    "runs": ["runs"],
    "resume": ["resume", "--demo"],
    "transfer": ["transfer", "--demo", "5"],
    "close": ["close", "--demo", "--all"],
    "pause": ["pause", "--demo"],
    "symbols": ["symbols", "--demo", "--drop", "ETHUSDT"],
    "trades": ["trades", "--demo"],
    "status": ["status", "--demo"],
    "strategies": ["strategies", "--json"],
    "explain": ["explain", "--demo"],
    "report": ["report", "--demo"],
    "export": ["export", "signals", "--demo"],
    "show-config": ["show-config"],
    "doctor": ["doctor", "--demo"],
}
SESSION = ("--demo", "--max-bars", "6", "--db")
OTHERS = [["--help"], ["report", "--help"], ["--version"], [], ["dance"], ["status", "--demo", "--json"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sinks")
    (folder / "config.toml").write_text(QUICK.replace("[run]", "[run]\nrecordings = ''"))
    (folder / "BTCUSDT_my_15m.csv").write_text(BARS)
    assert run(folder, "--demo", "--max-bars", "12").code == 0
    return folder


def test_every_command_is_tried():
    assert set(COMMANDS) == set(complete_parser()[1])


def test_no_command_hangs_or_dies_of_where_its_streams_lead(folder):
    asked = [tuple(arguments) for arguments in (*COMMANDS.values(), *OTHERS)]
    plain = dict(zip(asked, run_all(folder, [Case(arguments) for arguments in asked]), strict=True))
    # A command waits for whoever reads its results, as Unix tools do: no results into a full pipe.
    outs, errs = [out for out in SINKS if out != "unread"], list(SINKS)
    ways = [(out, err) for out in outs for err in errs if (out, err) != ("file", "file")]
    # Each way for some command, and each command some way.
    cases = [
        Case(arguments, out=out, err=err, stdin="closed" if err == "closed" else "file")
        for number, arguments in enumerate(asked)
        for place, (out, err) in enumerate(ways)
        if place == 5 * number % len(ways)
    ]
    for case, ended in zip(cases, run_all(folder, cases), strict=True):
        expected = plain[case.arguments]
        assert "Traceback" not in ended.err, (case, ended)
        if case.out == "full" and expected.out:
            assert ended.code == 1, (case, ended)
            if case.err == "file":
                last = ended.err.splitlines()[-1]
                assert last == "error: cannot write the result: No space left on device"
        else:
            assert ended.code == expected.code, (case, ended)
        if case.err == "file" and case.out != "full":
            assert len(ended.err.splitlines()) <= max(1, len(expected.err.splitlines())), (case, ended)
        if case.out == "file" and case.arguments not in ((), ("dance",)):
            assert bool(ended.out) == bool(expected.out), (case, ended)


def test_a_session_decides_every_bar_wherever_its_streams_lead(folder):
    ways = [("file", err) for err in SINKS] + [(out, "unread") for out in SINKS[1:]]
    cases = [
        Case((*SESSION, f"{number}.db"), out=out, err=err, stdin="closed")
        for number, (out, err) in enumerate(ways)
    ]
    for case, ended in zip(cases, run_all(folder, cases), strict=True):
        assert ended.code == (1 if case.out == "full" else 0), (case, ended)
        with closing(sqlite3.connect(folder / case.arguments[-1])) as database:
            ((decided, reason),) = database.execute(
                "SELECT (SELECT count(*) FROM signals), (SELECT exit_reason FROM sessions)"
            )
        assert decided >= 12, case
        assert reason == "6 bars"
        if case.out == "file":
            assert ("log_lines_lost" in ended.out) == (case.err in ("gone", "full", "unread")), case
