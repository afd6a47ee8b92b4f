"""``python -m benchmarks [ROOM …]``: measure all or some of memory, core, live, footprint."""

import argparse
import platform
import sys
from importlib import import_module

import msgspec

from benchmarks.measure import ROOT, Result, table

_ROOMS = ("memory", "core", "live", "footprint")


def main() -> None:
    """Measure, print a table, and write ``build/bench.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the bot is.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(_ROOMS))
    chosen = parser.parse_args().rooms or _ROOMS
    if unknown := [room for room in chosen if room not in _ROOMS]:
        parser.error(f"no room {unknown[0]!r}; choose from {', '.join(_ROOMS)}")
    results: list[Result] = []
    for room in chosen:
        for result in import_module(f"benchmarks.{room}").run():
            print(f"measured {result.name}", file=sys.stderr)
            results.append(result)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}\n")
    print(table(results))
    path = ROOT / "build" / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
