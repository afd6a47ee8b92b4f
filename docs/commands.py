"""Writes docs/commands.md, what each command takes, from the parsers themselves: ``python -m docs.commands``.

With ``--check`` nothing is written; the exit code says whether the file is up to date.
"""

import os
import sys
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
COLUMNS = 100


def page() -> str:
    """The page, the same on every machine and terminal."""
    os.environ["COLUMNS"] = str(COLUMNS)
    from bot import program
    from bot.commands.parser import complete_parser

    parser, commands = complete_parser(program.CLONE)
    parts = [
        "# Commands",
        f"What `--help` says, of the program and of each command. `{program.CLONE}`, `{program.MODULE}` and, once "
        f"installed, `{program.INSTALLED}` are the same program. `make commands` writes this page.",
        _fenced(parser.format_help()),
    ]
    for name, command in commands.items():
        parts += [f"## {name}", _fenced(command.format_help())]
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date: make commands")
