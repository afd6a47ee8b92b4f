"""One live session that times each bar: from its frame's arrival in the client to its commit's return.

Run as a process of its own: arguments as for run_bot.py; prints the seconds of each bar as JSON.
"""

import sys
import time
from typing import Any

import msgspec

from bot.cli import main
from bot.exchange import socket, wire
from bot.store.account import steps
from bot.trading.events import Step
from strategies import STRATEGIES


def timed_main(arguments: list[str]) -> list[float]:
    """Run the bot with a clock at both ends; the seconds of each bar that came by its frame and in time."""
    arrived: dict[int, float] = {}
    taken: list[float] = []
    put, append = socket._Inbox.put, steps.StepWriter.append

    def put_and_note(inbox: Any, raw: bytes) -> None:
        # In the client's own thread, as soon as the frame is whole. To look into it first costs some
        # microseconds, which are part of the figure.
        now = time.perf_counter()
        if b'"confirm":true' in raw:
            for entry in wire.kline_entries(wire.frame(raw).data):
                if isinstance(entry, wire.KlineEntry) and entry.confirm:
                    arrived.setdefault(entry.start, now)
        put(inbox, raw)

    async def append_and_note(writer: steps.StepWriter, step: Step) -> bool:
        written = await append(writer, step)
        if step.bar is not None and step.bar.source == "stream" and step.bar.start_ms in arrived:
            taken.append(time.perf_counter() - arrived.pop(step.bar.start_ms))
        return written

    # A clock at both ends, and nothing in between: what runs is the bot as it is.
    socket._Inbox.put = put_and_note  # type: ignore[method-assign, assignment]
    steps.StepWriter.append = append_and_note  # type: ignore[method-assign, assignment]
    code = main(arguments, STRATEGIES)
    if code:
        raise SystemExit(code)
    return taken


if __name__ == "__main__":
    seconds = timed_main(sys.argv[1:])
    print(msgspec.json.encode(seconds).decode())
