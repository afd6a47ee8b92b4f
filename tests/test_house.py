"""The house keeps its order: what import-linter cannot see."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "bot").rglob("*.py"))

# Two thoughts in one file: a list that may only shrink, with the lines of each.
LONG_FILES = {
    "bot/trading/walk.py": 491,
}
LONGEST = 400

# Who may talk to a person, and who may wait.
PRINTERS = ("bot/commands/", "bot/terminal/", "bot/cli.py", "bot/__main__.py")
WAITERS = (
    "bot/api/",
    "bot/commands/",
    "bot/demo/",
    "bot/exchange/",
    "bot/store/",
    "bot/reports/",
    "bot/sessions/",
    "bot/evaluation/",
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_long_files_only_become_fewer_and_shorter() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    grown = {name: n for name, n in lengths.items() if n > LONG_FILES.get(name, LONGEST)}
    assert not grown, "split them, or shorten them"
    done = [name for name in LONG_FILES if lengths.get(name, 0) <= LONGEST]
    assert not done, "short enough now: take them off the list"


def test_only_what_faces_a_person_prints() -> None:
    for path in SOURCES:
        if not name_of(path).startswith(PRINTERS):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            printing = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
            assert not printing, f"{name_of(path)} prints in lines {printing}"


def test_only_what_touches_the_outside_awaits() -> None:
    waiting = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    for path in SOURCES:
        if not name_of(path).startswith(WAITERS):
            lines = [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, waiting)]
            assert not lines, f"{name_of(path)} awaits in lines {lines}"
