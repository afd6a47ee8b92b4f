"""structlog, configured once: a readable line on a terminal, JSON elsewhere, always on standard error, in UTC."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.config import LogConfig
from bot.standard_streams import on_drops, styled

_COLOURS = {"long": "\033[32m", "short": "\033[31m", "hold": "\033[2m"}
_RESET = "\033[0m"


def configure(config: LogConfig, *, as_json: bool = False) -> None:
    """Set up logging for the process. ``auto`` is a readable line on a terminal and JSON when piped."""
    terminal = sys.stderr.isatty()
    console = config.format == "console" or (config.format == "auto" and terminal and not as_json)
    renderers: list[Processor]
    if console:
        renderers = [structlog.processors.TimeStamper(fmt="%H:%M:%S"), _Console(colours=styled(sys.stderr))]
    else:
        # ISO with a Z: UTC as well.
        renderers = [structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()]
    on_drops(_dropped if console else _dropped_as_json)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(config.level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _dropped(lines: int) -> str:
    return f"{lines:,} lines of this log were dropped: nobody read them"


def _dropped_as_json(lines: int) -> str:
    return json.dumps({"event": "log_dropped", "lines": lines, "level": "warning"})


class _Console:
    """Renders ``bar_decided``, the line that people watch, in columns; the rest as structlog does.

    All times are UTC, which is said once, before the first line.
    """

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._zone_told = False
        self._others = structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=20)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        decided = event.get("event") == "bar_decided"
        line = self._bar(event) if decided else str(self._others(logger, method, event))
        if self._zone_told:
            return line
        self._zone_told = True
        return f"all times are UTC, and a bar's is that of its close\n{line}"

    def _bar(self, event: EventDict) -> str:
        at = datetime.fromtimestamp(event["close_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        expected = event["expected_return"]
        lean = f"{100 * expected:+6.2f} %" if expected is not None else " " * 8
        late = "late " if event["late"] else ""
        return (
            f"{at}  {event['symbol']:<9}{event['close']:>11}  "
            f"{self._coloured(event['action'], format(event['action'].upper(), '<5'))} "
            f"{event['confidence']:4.2f} {lean}  {event['equity']:>10}  {late}{event['reason']}"
        )

    def _coloured(self, action: Any, text: str) -> str:
        return f"{_COLOURS[action]}{text}{_RESET}" if self._colours else text
