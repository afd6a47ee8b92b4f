"""Values of a stranger's file that no market can have are named, whichever field holds them."""

from decimal import Decimal

import pytest
from msgspec.structs import asdict, replace

from bot.market.bounds import field_problem
from tests.factories import an_instrument

FIGURES = [name for name, value in asdict(an_instrument()).items() if isinstance(value, Decimal)]


def test_sound_rules_have_no_problem():
    assert field_problem("instrument", an_instrument()) is None
    assert len(FIGURES) >= 3


@pytest.mark.parametrize("name", sorted({*FIGURES, "max_market_quantity", "max_leverage"}))
@pytest.mark.parametrize("value", ["sNaN", "NaN", "Infinity", "-Infinity", "-1"])
def test_rules_with_a_figure_that_is_none_are_named_by_their_field(name, value):
    rules = replace(an_instrument(), **{name: Decimal(value)})
    problem = field_problem("instrument", rules)
    assert problem is not None
    assert name in problem
