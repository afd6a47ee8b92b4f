"""Check: one condition that a decision was put to, with its number and its threshold."""

from typing import Literal, Self, get_args

from msgspec import Struct

from bot.errors import SignalError

Relation = Literal[">=", "<=", ">"]

_RELATIONS = get_args(Relation)


class Check(Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One condition for an entry, and whether it held: ``value`` ``relation`` ``limit``.

    ``name`` is the strategy's own, one word. A condition without a number has neither value nor limit.
    It checks itself as it is made, once: what is no check raises :class:`~bot.errors.SignalError`.
    """

    name: str
    passed: bool
    value: float | None = None
    limit: float | None = None
    relation: Relation = ">="

    def __post_init__(self) -> None:
        """SignalError, which names the field, unless all of them are what they should be."""
        name = self.name
        if not isinstance(name, str) or not name:
            raise SignalError(f"a check is named {name!r}, not by a word")
        if type(self.passed) is not bool:
            raise SignalError(f"check {name} passed is {self.passed!r}, neither True nor False")
        for number in (self.value, self.limit):
            if number is not None and type(number) not in (int, float):
                raise SignalError(f"check {name} holds {number!r}, not a number")
        if self.relation not in _RELATIONS:
            raise SignalError(f"check {name} holds by {self.relation!r}, none of {', '.join(_RELATIONS)}")

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
    for check in checks:
        if not check.passed:
            return check
    return None


def no_checks(checks: object) -> str | None:
    """Why these cannot be a signal's checks, in a few words, or None when they can."""
    if isinstance(checks, tuple):
        for check in checks:
            if not isinstance(check, Check):
                break
        else:
            return None
    return f"checks is {checks!r}, not a tuple of Check"
