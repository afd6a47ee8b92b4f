"""The recordings beside this file and what they must come to: ``python -m tests.recordings.renew`` makes them anew.

Needed after a change that is meant to change decisions or money; the difference of the ``.txt`` files
then shows what it changed.
"""

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from bot.market import plain
from bot.testing import ReplayedSession, replay
from tests.bot_process import run, start, wait_for

FOLDER = Path(__file__).parent
NAMES = ("clean", "killed", "restarted")

_REMEMBERS = """
[memory]
warmup_bars = 300
neighbors = 8
[strategy]
horizon_bars = 12
confidence_threshold = 0.5
[strategy.options]
significance = 1.0
"""
_FOLLOWS = """
[memory]
warmup_bars = 100
[strategy]
name = "moving_average_cross"
options = { fast = 2, slow = 5 }
[broker]
latency_ms = 60000
"""


def told(session: ReplayedSession) -> list[str]:
    """Decisions and money, a line each; no figure of the model's, whose last digits depend on the machine."""
    lines = [
        f"signal {bar.symbol} {bar.start_ms} {signal.action}" + (" late" if bar.late else "")
        for bar, signal in zip(session.bars, session.signals, strict=True)
    ]
    for order in session.orders:
        lines.append(f"order {order.id} {order.symbol} {order.side} {plain(order.quantity)} {order.status}")
    for fill in session.fills:
        figures = " ".join(map(plain, (fill.quantity, fill.price, fill.fee, fill.realized_pnl)))
        lines.append(f"fill {fill.id} of {fill.order_id} {fill.side} {figures} {fill.rule} {fill.time_ms}")
    for paid in session.funding:
        lines.append(f"funding {paid.symbol} {paid.time_ms} {plain(paid.quantity)} {plain(paid.payment)}")
    for row in session.equity:
        lines.append(
            f"equity {row.time_ms} {plain(row.cash)} {plain(row.unrealized_pnl)} {plain(row.equity)}"
        )
    for symbol, position in sorted(session.positions.items()):
        lines.append(f"position {symbol} {plain(position.quantity)} {plain(position.cost)}")
    return lines


def main() -> None:
    """Record one session that ends cleanly, and one that is killed and restarted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.toml").write_text(_REMEMBERS)
        run(folder, "--demo", "--max-bars", "100")
        _keep(folder, "clean")
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "log"
        (folder / "config.toml").write_text(_FOLLOWS)
        with start(folder, "--demo", log=log) as process:
            wait_for(log, '"bar_decided"', 60)
            process.send_signal(signal.SIGKILL)
        run(folder, "--demo", "--max-bars", "30")
        _keep(folder, "killed", "restarted")


def _keep(folder: Path, *names: str) -> None:
    """The folder's recordings in their order under these names, with what they come to."""
    for recording, name in zip(sorted((folder / "var/recordings").iterdir()), names, strict=True):
        verified = run(folder, "replay", str(recording), "--verify", "var/demo.db")
        if verified.code:
            sys.exit(f"{name}: {verified.out}{verified.err}")
        kept = FOLDER / f"{name}.rec.zst"
        shutil.copy(recording, kept)
        (FOLDER / f"{name}.txt").write_text("\n".join(told(replay(kept))) + "\n")


if __name__ == "__main__":
    main()
