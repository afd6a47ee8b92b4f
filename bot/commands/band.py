"""The band: what the same session comes to where the market treats its orders kindly, as expected, or badly."""

from collections.abc import AsyncIterable, Callable, Mapping
from decimal import Decimal
from typing import get_args

import msgspec
from msgspec import Struct

from bot.commands.summary import Summary, Tally
from bot.commands.tables import print_table, print_text, print_title
from bot.config import from_json
from bot.market import Bar
from bot.sessions import loop
from bot.sessions.assembly import build_trader, recorded_strategy
from bot.store.believed import believed
from bot.store.recording import Recording
from bot.trader import Trader
from bot.trading.events import Input, Position
from bot.trading.fills import Preset

PRESETS: tuple[Preset, ...] = get_args(Preset)

Band = Mapping[str, Summary]
"""Preset to what the session comes to under it."""


async def scored(
    events: AsyncIterable[Input],
    trader: Trader,
    held: tuple[Position, ...],
    equity: Decimal,
    mode: str,
    preset: Preset,
    start_value: float = 1.0,
) -> Summary:
    """What a run comes to that is written nowhere; it began with ``equity`` and the positions ``held``."""
    tally = Tally(held, float(equity), start_value)
    async for event in events:
        tally.count(loop.advance(trader, event))
    return tally.summary(mode, "", 0, preset, 0.0)


async def of_recording(recording: Recording, progress: Callable[[str, int, int], None]) -> dict[str, Summary]:
    """A recorded session under each preset, on the bars and quotes that it saw."""
    header = recording.header
    band: dict[str, Summary] = {}
    for preset in PRESETS:
        config = from_json(
            header.config_json, {"broker.fills": preset}, f"the configuration recorded in {recording.path}"
        )
        strategy = recorded_strategy(recording, config)
        with believed(recording.path):
            trader = build_trader(config, strategy, recording.instruments, header.opening, quotes=True)
        events = _seen(recording, trader, preset, progress)
        held = header.opening.ledger.positions
        value = float(header.opening.track.value)
        with believed(recording.path):
            band[preset] = await scored(events, trader, held, header.equity, header.mode, preset, value)
    return band


async def _seen(
    recording: Recording, trader: Trader, preset: Preset, progress: Callable[[str, int, int], None]
) -> AsyncIterable[Input]:
    done = 0

    def observe(bars: list[Bar]) -> None:
        nonlocal done
        done += len(bars)
        trader.observe_all(bars)

    for entry in recording.lived(observe):
        done += 1
        if done % 500 == 0:
            progress(preset, done, recording.entries)
        yield entry


def print_band(band: Band) -> None:
    """The three side by side, for people."""
    print_title("the band: the same market, other fills")
    print_table(
        ("market", "end equity", "return", "max drawdown", "fills", "round trips", "won", "fees"),
        [
            (
                preset,
                f"{found.end_equity:,.2f}",
                "-" if found.total_return is None else f"{found.total_return:+.2%}",
                f"{found.max_drawdown:.2%}",
                str(found.fills),
                str(found.round_trips),
                "-" if found.hit_rate is None else f"{found.hit_rate:.0%}",
                f"{found.fees:,.2f}",
            )
            for preset, found in band.items()
        ],
    )
    returns = [found.total_return for found in band.values() if found.total_return is not None]
    if returns:
        print_text(f"return between {min(returns):+.2%} and {max(returns):+.2%}, by fills alone")


def as_json(told: Struct, band: Band) -> str:
    """A result as one JSON object, with what each preset came to under ``band``."""
    fields = msgspec.to_builtins(told)
    fields["band"] = {
        preset: {
            name: getattr(found, name)
            for name in (
                *("end_equity", "total_return", "max_drawdown"),
                *("fills", "round_trips", "hit_rate", "fees", "funding"),
            )
        }
        for preset, found in band.items()
    }
    return msgspec.json.encode(fields).decode()
