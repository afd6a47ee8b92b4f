"""Databases that anybody may have changed, under every command that opens one."""

import contextlib
import gzip
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from bot.cli import main
from bot.store.account.schema import SCHEMA_VERSION
from strategies import STRATEGIES
from tests.fuzz.absurd import damaged, like, value
from tests.fuzz.oracle import Findings, judge, rounds

STORE = Path(__file__).parents[1] / "store" / "account"
RECORDING = Path(__file__).parents[1] / "recordings" / "clean.rec.zst"

CONFIG = """
[run]
recordings = ""
[model]
checkpoint = ""
[memory]
warmup_bars = 50
neighbors = 4
size = 200
[strategy]
name = "moving_average_cross"
"""

ACCOUNT = (
    ("status", "--db", "{db}"),
    ("status", "--db", "{db}", "--json"),
    ("trades", "--db", "{db}"),
    ("trades", "--db", "{db}", "--json"),
    ("explain", "--db", "{db}"),
    ("explain", "7", "--db", "{db}"),
    ("explain", "--db", "{db}", "--json"),
    ("report", "--db", "{db}"),
    ("report", "--db", "{db}", "--all"),
    ("report", "--db", "{db}", "--session", "1", "--json"),
    *(("export", table, "--db", "{db}") for table in ("trade_log", "bars", "sessions", "equity")),
    ("export", "events", "--db", "{db}", "--json"),
    ("doctor", "--db", "{db}", "--demo"),
    ("parity", "{db}"),
    ("replay", str(RECORDING), "--db", "{db}"),
    ("replay", str(RECORDING), "--db", "{folder}/replayed.db", "--verify", "{db}"),
    ("transfer", "10", "--db", "{db}"),
    ("transfer", "--db", "{db}", "--", "-10"),
    ("close", "--all", "--db", "{db}"),
    ("pause", "--db", "{db}"),
    ("pause", "BTCUSDT", "--db", "{db}"),
    ("resume", "--db", "{db}"),
    ("symbols", "--add", "SOLUSDT", "--db", "{db}"),
    ("symbols", "--drop", "ETHUSDT", "--db", "{db}"),
)
LIVE = ("--demo", "--db", "{db}", "--max-bars", "1", "--symbols", "BTCUSDT")
WRITERS = ("import", "transfer", "close", "pause", "resume", "symbols", "--demo", "replay")

RUN = (
    ("status", "--run", "first"),
    ("trades", "--run", "first"),
    ("explain", "--run", "first"),
    ("report", "--run", "first"),
    ("export", "fills", "--run", "first"),
    ("backtest", "--again", "first", "--db", "{folder}/again.db"),
    ("runs", "--delete", "first"),
)
INDEX = (
    ("runs",),
    ("runs", "--json"),
    ("runs", "--compare", "first", "second"),
    ("runs", "--delete", "first"),
    ("status", "--run", "first"),
    ("report", "--run", "first"),
)
HISTORY = (
    ("backtest", "--symbols", "BTCUSDT", "--interval", "60", "--db", "{folder}/b.db"),
    ("import", "{folder}/BTCUSDT_test_1h.csv"),
    ("evaluate", "--symbols", "BTCUSDT", "--interval", "60", "--quick", "--out", "{folder}/e"),
    ("train", "--symbols", "BTCUSDT", "--interval", "60", "--steps", "1", "--out", "{folder}/t"),
)


def csv(hours: int) -> str:
    lines = ["start_ms,open,high,low,close,volume,turnover"]
    for hour in range(hours):
        price = 100 + (hour * 7 % 23) - (hour * 5 % 17)
        lines.append(
            f"{1_700_002_800_000 + hour * 3_600_000},{price},{price + 2},{price - 2},{price + 1},10,"
        )
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A folder with a database of each kind and schema version, as sessions and runs leave them."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "config.toml").write_text(CONFIG)
    (folder / "BTCUSDT_test_1h.csv").write_text(csv(120))
    for version in range(1, SCHEMA_VERSION):
        packed = (STORE / f"version{version}.db.gz").read_bytes()
        (folder / f"version{version}.db").write_bytes(gzip.decompress(packed))
    with contextlib.chdir(folder):
        shutil.copy("version3.db", "account.db")
        common = ("--demo", "--db", "account.db", "--max-bars", "3")
        assert main([*common, "--strategy", "historical_similarity"], STRATEGIES) == 0
        assert main([*common], STRATEGIES) == 0
        assert main(["replay", str(RECORDING), "--db", "replay.db"], STRATEGIES) == 0
        assert main(["import", "BTCUSDT_test_1h.csv"], STRATEGIES) == 0
        for name in ("first", "second"):
            chosen = ("--symbols", "BTCUSDT", "--interval", "60", "--warmup", "40", "--name", name)
            assert main(["backtest", *chosen], STRATEGIES) == 0
    return folder


def writable(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def without_checks(path: Path) -> None:
    """Make tables take anything, for as long as they are written to; what they say of themselves is put back later."""
    with closing(writable(path)) as file:
        file.execute("PRAGMA writable_schema = ON")
        file.execute(
            "UPDATE sqlite_master SET sql = replace(replace(replace(sql, ' STRICT,', ' '), ') STRICT', ')'), "
            "'NOT NULL', '') WHERE type = 'table'"
        )


def change_rows(random: Random, path: Path) -> str:
    """Change some values of some rows to what no session writes, behind the back of the table's types."""
    told = []
    with closing(writable(path)) as file:
        said = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    free = random.random() < 0.4
    if free:
        without_checks(path)
    with closing(writable(path)) as file:
        for _ in range(random.choice((1, 1, 2, 5))):
            filled = [name for name, _ in said if file.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone()]
            if not filled:
                break
            table = random.choice(filled)
            names = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            column = random.choice(names)
            rows = file.execute(f"SELECT * FROM {table}").fetchall()
            row = random.choice(rows)
            kind = random.randrange(10)
            with contextlib.suppress(sqlite3.Error, OverflowError):
                if kind == 0:
                    file.execute(f"DELETE FROM {table}")
                    told.append(f"{table} emptied")
                elif kind == 1:
                    file.execute(f"DELETE FROM {table} WHERE {column} IS ?", (row[names.index(column)],))
                    told.append(f"{table} without {column} {str(row[names.index(column)])[:30]}")
                elif kind == 2:
                    copy = [like(random, each) if random.random() < 0.3 else each for each in row]
                    file.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", copy)
                    told.append(f"{table} with {str(copy)[:200]}")
                else:
                    new = like(random, row[names.index(column)])
                    where = "" if random.random() < 0.3 else f" WHERE {names[0]} IS ?"
                    file.execute(f"UPDATE {table} SET {column} = ?{where}", (new, row[0])[: 1 + bool(where)])
                    told.append(f"{table}.{column} = {str(new)[:60]!r}")
        if free:
            file.execute("PRAGMA writable_schema = ON")
            file.executemany(
                "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?",
                [(sql, name) for name, sql in said],
            )
    return "; ".join(told)


STATEMENTS = (
    "DROP VIEW trade_log",
    "DROP VIEW trade_log; CREATE VIEW trade_log AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
    "SELECT i AS fill_id FROM n",
    "DROP VIEW trade_log; CREATE TABLE trade_log (fill_id INTEGER)",
    "CREATE TRIGGER more AFTER INSERT ON requests BEGIN UPDATE meta SET value = 'x'; END",
    "CREATE TABLE notes (text TEXT)",
    "CREATE VIEW mine AS SELECT * FROM nowhere",
    "PRAGMA journal_mode = DELETE",
    "VACUUM",
    "ANALYZE",
    "DELETE FROM meta",
    "UPDATE meta SET value = 'nowhere' WHERE key = 'mode'",
    "UPDATE meta SET value = 'NaN' WHERE key = 'starting_cash'",
    "INSERT INTO meta VALUES ('more', 'x')",
)


def change_schema(random: Random, path: Path) -> str:
    """Change what tables there are, what columns they have, or what the file says that it is."""
    with closing(writable(path)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random.choice(tables)
        column = random.choice([row[1] for row in file.execute(f"PRAGMA table_info({table})")])
        numbers = (*range(-2, SCHEMA_VERSION + 2), 2**31 - 1, -(2**31))
        sql = random.choice(
            (
                *STATEMENTS,
                *[f"PRAGMA user_version = {random.choice(numbers)}"] * 4,
                *[f"PRAGMA application_id = {random.choice((0, 1, 0x50415048, 0x50415049, 0x50415042))}"] * 4,
                *[f"DROP TABLE {table}"] * 4,
                *[f"ALTER TABLE {table} DROP COLUMN {column}"] * 4,
                *[f"ALTER TABLE {table} RENAME COLUMN {column} TO other"] * 3,
                *[f"ALTER TABLE {table} RENAME TO other"] * 2,
                *[f"ALTER TABLE {table} ADD COLUMN more TEXT"] * 2,
                f"CREATE UNIQUE INDEX one ON {table} ({column})",
                f"DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS {column}",
                f"CREATE TABLE copy AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE copy RENAME TO {table}",
            )
        )
        with contextlib.suppress(sqlite3.Error):
            file.executescript(sql)
    return sql


def another(random: Random, path: Path) -> str:
    """Another program's database in its place, empty or not."""
    path.unlink()
    with closing(writable(path)) as file:
        number, version = random.choice((0, 1, 252006673, 0x50415042)), random.choice((0, 0, 1, 4, -1))
        file.execute(f"PRAGMA application_id = {number}")
        file.execute(f"PRAGMA user_version = {version}")
        if random.random() < 0.5:
            file.execute("CREATE TABLE photos (name TEXT)")
            file.execute("INSERT INTO photos VALUES (?)", (str(value(random))[:100],))
    return f"another's, application {number}, version {version}"


def spoil(random: Random, path: Path) -> str:
    """Change the file in one way; what was done."""
    match random.randrange(10):
        case 0 | 1:
            path.write_bytes(damaged(random, path.read_bytes()))
            return "bytes"
        case 2 | 3 | 4:
            return change_schema(random, path)
        case 5 if random.random() < 0.5:
            return another(random, path)
        case _:
            return change_rows(random, path)


def same(path: Path, before: bytes) -> bool:
    """Whether a database holds what it held: how its pages lie, and whether it keeps a log, is its own matter."""
    if path.read_bytes() == before:
        return True
    earlier = path.with_name("earlier.db")
    earlier.write_bytes(before)
    return content(path) == content(earlier)


def content(path: Path) -> list[str] | None:
    """What a database holds, None for what is none."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
            version = file.execute("PRAGMA user_version").fetchone()
            return [f"{version}", *file.iterdump()]
    except (sqlite3.Error, UnicodeDecodeError, OverflowError):
        return None


def renewed(sound: Path, folder: Path, name: str) -> None:
    """Put back what the round before may have changed."""
    for path in folder.iterdir():
        if path.is_file() and not (sound / path.name).exists():
            path.unlink()
    if name.startswith("var/"):
        shutil.rmtree(folder / "var")
        shutil.copytree(sound / "var", folder / "var")
    else:
        shutil.copy(sound / name, folder / name)


def choose(random: Random) -> tuple[str, tuple[str, ...]]:
    """A file, and a command that opens it."""
    kind = random.random()
    if kind < 0.08:
        return "var/runs/first.db", random.choice(RUN)
    if kind < 0.16:
        return "var/runs/index.db", random.choice(INDEX)
    if kind < 0.22:
        return "var/history.db", random.choice(HISTORY[:2])
    if kind < 0.225:
        return "var/history.db", random.choice(HISTORY[2:])
    if kind < 0.25:
        return random.choice(("account.db", *(f"version{n}.db" for n in range(1, SCHEMA_VERSION)))), LIVE
    if kind < 0.3:
        return "replay.db", random.choice(ACCOUNT)
    return "account.db", random.choice(ACCOUNT)


def test_no_change_to_a_database_is_more_than_one_line_under_any_command(
    sound, tmp_path, monkeypatch, seed, seconds
):
    findings = Findings()
    folder = tmp_path / "changed"
    shutil.copytree(sound, folder)
    monkeypatch.chdir(folder)
    for random in rounds(seed, seconds):
        name, command = choose(random)
        path = folder / name
        renewed(sound, folder, name)
        done = spoil(random, path)
        before = path.read_bytes()
        arguments = [word.format(db=name, folder=folder) for word in command]
        code = judge(findings, arguments, f"{name} ({done})", seconds=60.0)
        may_write = command[0] in WRITERS or "--delete" in command
        if (code == 2 or not may_write) and path.exists() and not same(path, before):
            findings.add("it was written to", f"{name} ({done}): {arguments}")
    print(findings)
    assert not findings.wrong, findings
