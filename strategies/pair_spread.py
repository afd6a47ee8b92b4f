"""Pair spread: two symbols that move together; sell the dear one, buy the cheap one, out as they meet again."""

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct

from bot.strategy import OtherSymbol, Situation, StrategyConfig
from bot.trading.checks import Check
from bot.trading.events import Signal


class PairSpreadStrategy:
    """Trades the log ratio of a pair's closes once it is ``entry`` standard deviations off its mean, until ``exit``.

    Each symbol's close decides on its own leg alone, of ``size`` of equity. At one close the first symbol (by name)
    does not know the second one's bar yet, so its leg is decided by the bars before; the second one knows both. A
    leg that is left alone, because the other was refused or stopped, is closed after three bars.
    """

    class Options(Struct, frozen=True, kw_only=True):
        """``pair`` names the two symbols; ``bars`` is the spread's past, ``entry`` and ``exit`` in deviations of it."""

        pair: str = "BTCUSDT,ETHUSDT"
        bars: Annotated[int, Meta(ge=20, le=1000)] = 200
        entry: Annotated[float, Meta(ge=0.5, le=10)] = 2.0
        exit: Annotated[float, Meta(ge=0, le=10)] = 0.5
        size: Annotated[float, Meta(ge=0.0001, le=100)] = 0.2

        def __post_init__(self) -> None:
            names = self.pair.split(",")
            if len(names) != 2 or not all(names) or names[0] == names[1]:
                raise ValueError(f"pair is {self.pair!r}, not two symbols as in BTCUSDT,ETHUSDT")
            if self.exit >= self.entry:
                raise ValueError(f"exit ({self.exit:g}) must be below entry ({self.entry:g})")

    needs_memory = False
    checks: ClassVar[dict[str, str]] = {
        "pair": "one of the pair",
        "bars": "enough bars of both",
        "legs": "neither leg alone",
        "apart": "far apart",
    }

    def __init__(self, config: StrategyConfig) -> None:
        self._options = config.read_options(self.Options)
        self._first, self._second = self._options.pair.split(",")

    def decide(self, situation: Situation) -> Signal:
        """This symbol's leg of the spread."""
        options, symbol = self._options, situation.bar.symbol
        in_pair = Check("pair", symbol in (self._first, self._second))
        if not in_pair.passed:
            reason = f"pair: {symbol} is not of {options.pair}"
            return Signal.hold(reason, detail={"gate": "pair"}, checks=(in_pair,))
        other = situation.other(self._second if symbol == self._first else self._first)
        own, others = self._closes(situation, other)
        enough = Check.at_least("bars", len(own), options.bars)
        if not enough.passed:
            reason = f"bars: {len(own)} of {options.bars} bars of {options.pair} that closed together"
            return Signal.hold(reason, detail={"gate": "bars"}, checks=(in_pair, enough))

        # How dear this symbol is in the other; seen from the last one, so that equal ratios give exactly nothing.
        ratio = np.log(own / others)
        away = ratio - ratio[-1]
        spread = float(away.std())
        score = -float(away.mean()) / spread if spread else 0.0
        where = f"{abs(score):.2f} deviations {'dear' if score > 0 else 'cheap'} in {other.symbol}"
        held = situation.position.quantity
        alone = bool(held) and not other.position.quantity and situation.bars_held >= _ALONE_BARS
        legs = Check("legs", not alone)
        if alone:
            reason = f"legs: {other.symbol} is not held, so this leg is no spread"
            return Signal.close(reason, detail={"gate": "legs"}, checks=(in_pair, enough, legs))
        apart = Check.at_least("apart", abs(score), options.entry)
        checks = (in_pair, enough, legs, apart)
        if apart.passed:
            enter = Signal.short if score > 0 else Signal.long
            detail = {"gate": "entry", "score": score}
            return enter(f"entry: {where}", size=options.size, confidence=0.5, detail=detail, checks=checks)
        if held and abs(score) <= options.exit:
            return Signal.close(f"apart: met again, {where}", detail={"gate": "apart"}, checks=checks)
        return Signal.hold(f"apart: only {where}", detail={"gate": "apart"}, checks=checks)

    def _closes(self, situation: Situation, other: OtherSymbol) -> tuple[np.ndarray, np.ndarray]:
        """The last closes of both at the same times, as many as both have; none where one is far behind."""
        own, others, bars = situation.recent, other.recent, self._options.bars
        if not len(others) or not own.interval_ms:
            return _NOTHING, _NOTHING
        behind = (own.next_start_ms - others.next_start_ms) // own.interval_ms
        if not 0 <= behind <= 1:
            return _NOTHING, _NOTHING
        mine = own.closes(bars + behind)
        mine, theirs = mine[: len(mine) - behind], others.closes(bars)
        known = min(len(mine), len(theirs))
        return mine[len(mine) - known :], theirs[len(theirs) - known :]


_ALONE_BARS = 3
_NOTHING = np.empty(0)
