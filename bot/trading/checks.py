"""Check: one condition that a decision was put to, with its number and its threshold."""

from typing import Literal, Self, get_args

from msgspec import Struct

Relation = Literal[">=", "<=", ">"]

_RELATIONS = get_args(Relation)


class Check(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One condition for an entry, and whether it held: ``value`` ``relation`` ``limit``.

    ``name`` is the strategy's own, one word. A condition without a number has neither value nor limit.
    """

    name: str
    passed: bool
    value: float | None = None
    limit: float | None = None
    relation: Relation = ">="

    @classmethod
    def at_least(cls, name: str, value: float, limit: float) -> Self:
        """Holds where ``value`` is ``limit`` or more."""
        return cls(name, bool(value >= limit), float(value), float(limit))

    @classmethod
    def at_most(cls, name: str, value: float, limit: float) -> Self:
        """Holds where ``value`` is ``limit`` or less."""
        return cls(name, bool(value <= limit), float(value), float(limit), "<=")

    @classmethod
    def above(cls, name: str, value: float, limit: float) -> Self:
        """Holds where ``value`` is more than ``limit``."""
        return cls(name, bool(value > limit), float(value), float(limit), ">")


def first_failed(checks: tuple[Check, ...]) -> Check | None:
    """The check that decided against an entry: the first, in their order, that did not hold."""
    return next((check for check in checks if not check.passed), None)


def contradiction(checks: object) -> str | None:
    """Why these cannot be a signal's checks, in a few words, or None when they can."""
    if not isinstance(checks, tuple) or not all(isinstance(check, Check) for check in checks):
        return f"checks is {checks!r}, not a tuple of Check"
    for check in checks:
        if not isinstance(check.name, str) or not check.name:
            return f"a check is named {check.name!r}, not by a word"
        if not isinstance(check.passed, bool):
            return f"check {check.name} passed is {check.passed!r}, neither True nor False"
        for number in (check.value, check.limit):
            if number is not None and type(number) not in (int, float):
                return f"check {check.name} holds {number!r}, not a number"
        if check.relation not in _RELATIONS:
            return f"check {check.name} holds by {check.relation!r}, none of {', '.join(_RELATIONS)}"
    return None
