"""A generated market with a known edge: bars as a pure function of spec, seed, symbol and bar index.

Returns are GARCH(1,1) shocks with Student-t tails under a slowly switching volatility. Now and then a
motif from a small library, shared by all symbols, is played into them and followed by a drift whose
direction belongs to that motif. Each shape also exists reversed in time with the opposite outcome, so
that neither momentum nor volatility nor volume tells what comes next: only the shape does.

Volatility is that of a 15-minute crypto bar whatever the interval. The log price is pulled weakly to
its starting level (half-life about 46,000 bars), so that a million bars stay within roughly a factor
of ten of it; the pull is some 0.2 % of a bar's volatility and no edge worth trading.
"""

from bot.synthetic.market import SyntheticMarket
from bot.synthetic.spec import MONDAY_MS, PRESETS, Candles, MarketSpec, Truth

__all__ = ["MONDAY_MS", "PRESETS", "Candles", "MarketSpec", "SyntheticMarket", "Truth"]
