"""A position: what a fill makes of it, what it realizes, and what it is worth at a mark."""

from decimal import ROUND_05UP, ROUND_HALF_EVEN, Context, Decimal

from bot.exact import EXACT, ZERO
from bot.trading.events import Fill, Position

COST_STEP = Decimal("1E-12")
"""What the released share of a position's cost is rounded to: the books' only rounding."""

# Dividing first and rounding to the step afterwards rounds twice, which goes wrong beside a tie.
# ROUND_05UP leaves a last digit that no later rounding can mistake for a tie.
_DIVIDE = Context(prec=EXACT.prec, rounding=ROUND_05UP)
_ROUND = Context(prec=EXACT.prec, rounding=ROUND_HALF_EVEN)

_subtract, _multiply = EXACT.subtract, EXACT.multiply


def quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """The quotient, correctly rounded (half even) to ``COST_STEP``."""
    return _DIVIDE.divide(numerator, denominator).quantize(COST_STEP, context=_ROUND)


def entry_price(position: Position) -> Decimal:
    """The average price paid, rounded to 1e-12 for display; 0 when flat. Money is never derived from it."""
    if not position.quantity:
        return ZERO
    return EXACT.normalize(quotient(position.cost, position.quantity))


def unrealized_pnl(position: Position, mark: Decimal) -> Decimal:
    """What closing the whole position at ``mark`` would realize, before fees, in quote currency."""
    return _subtract(_multiply(position.quantity, mark), position.cost)


def book(position: Position, fill: Fill) -> tuple[Position, Decimal]:
    """The position after ``fill``, and the PnL that it realized (gross of its fee).

    A fill in the position's direction adds to its cost. One against it closes first, releasing the
    closed share of the cost, or all that is left of it; what then remains opens the other side.
    """
    held, cost, opened_ms = position.quantity, position.cost, position.opened_ms
    buys = fill.side == "buy"
    change = fill.quantity if buys else EXACT.minus(fill.quantity)
    value = fill.notional if buys else EXACT.minus(fill.notional)
    quantity = EXACT.add(held, change)
    realized = ZERO
    if not held:
        cost, opened_ms = value, fill.time_ms
    elif (held > 0) == buys:
        cost = EXACT.add(cost, value)
    elif not quantity or (quantity > 0) == (held > 0):
        released = cost if not quantity else quotient(EXACT.multiply(cost, fill.quantity), held.copy_abs())
        realized = EXACT.minus(EXACT.add(value, released))
        # Subtracting the cost from itself would leave a zero with as many decimals.
        cost = EXACT.subtract(cost, released) if quantity else ZERO
    else:
        opening = EXACT.multiply(quantity, fill.price)
        realized = EXACT.minus(EXACT.add(EXACT.subtract(value, opening), cost))
        cost, opened_ms = opening, fill.time_ms
    after = Position(
        symbol=fill.symbol,
        quantity=quantity if quantity else ZERO,
        cost=cost,
        opened_ms=opened_ms,
        updated_ms=fill.time_ms,
    )
    return after, realized
