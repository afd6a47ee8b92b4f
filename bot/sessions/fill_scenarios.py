"""Fill scenarios: the same session under optimistic, realistic and pessimistic fills."""

from collections.abc import AsyncIterable, Callable, Mapping
from decimal import Decimal
from typing import get_args

from bot.config import from_json
from bot.market import Bar
from bot.sessions import loop
from bot.sessions.assembly import build_trader, recorded_strategy
from bot.sessions.session import SessionCounter, Summary
from bot.store.believed import believed
from bot.store.recording.reader import Recording
from bot.trader import Trader
from bot.trading.events import Input, Position
from bot.trading.fills import Preset

PRESETS: tuple[Preset, ...] = get_args(Preset)

Scenarios = Mapping[str, Summary]
"""Preset to the session's figures under it."""


async def run_preset(
    events: AsyncIterable[Input],
    trader: Trader,
    held: tuple[Position, ...],
    equity: Decimal,
    mode: str,
    preset: Preset,
    start_value: float = 1.0,
) -> Summary:
    """The figures of a run that is written nowhere; it began with ``equity`` and the positions ``held``."""
    counter = SessionCounter(held, float(equity), start_value)
    async for event in events:
        counter.count(loop.advance(trader, event))
    return counter.summary(mode, "", 0, preset, 0.0)


async def of_recording(recording: Recording, progress: Callable[[str, int, int], None]) -> dict[str, Summary]:
    """A recorded session under each preset, on the bars and quotes that it saw."""
    header = recording.header
    scenarios: dict[str, Summary] = {}
    for preset in PRESETS:
        config = from_json(
            header.config_json,
            {"broker.fill_preset": preset},
            f"the configuration recorded in {recording.path}",
        )
        strategy = recorded_strategy(recording, config)
        with believed(recording.path):
            trader = build_trader(config, strategy, recording.instruments, header.opening, quotes=True)
        events = _seen(recording, trader, preset, progress)
        held = header.opening.ledger.positions
        value = float(header.opening.track.value)
        with believed(recording.path):
            scenarios[preset] = await run_preset(
                events, trader, held, header.equity, header.mode, preset, value
            )
    return scenarios


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
