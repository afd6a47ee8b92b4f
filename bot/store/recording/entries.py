"""The entries of a recording: what the core saw, as it is written and read."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from bot.market import Bar, Book, Funding, Listing, Notice, Quote, RuleChange
from bot.trading.events import Answer, Close, Input, Pause, Resume, Transfer, Watch


class Observed(Struct, frozen=True):
    """A bar of the warm-up: observed, not decided on."""

    bar: Bar


Entry = Observed | Input


# The same values, tagged and without field names. Fields may be added at their end, with defaults.
class _Observed(Bar, frozen=True, kw_only=True, gc=False, tag="o", array_like=True):
    pass


class _Bar(Bar, frozen=True, kw_only=True, gc=False, tag="b", array_like=True):
    pass


class _Quote(Quote, frozen=True, kw_only=True, gc=False, tag="q", array_like=True):
    pass


class _Funding(Funding, frozen=True, kw_only=True, gc=False, tag="f", array_like=True):
    pass


class _Book(Book, frozen=True, kw_only=True, gc=False, tag="d", array_like=True):
    pass


class _Resume(Resume, frozen=True, kw_only=True, gc=False, tag="r", array_like=True):
    pass


class _Transfer(Transfer, frozen=True, kw_only=True, gc=False, tag="t", array_like=True):
    pass


class _Close(Close, frozen=True, kw_only=True, gc=False, tag="c", array_like=True):
    pass


class _Pause(Pause, frozen=True, kw_only=True, gc=False, tag="p", array_like=True):
    pass


class _Watch(Watch, frozen=True, kw_only=True, tag="w", array_like=True):
    pass


class _Listing(Listing, frozen=True, kw_only=True, gc=False, tag="l", array_like=True):
    pass


class _Notice(Notice, frozen=True, kw_only=True, gc=False, tag="n", array_like=True):
    pass


class _Answer(Answer, frozen=True, kw_only=True, gc=False, tag="a", array_like=True):
    pass


class _RuleChange(RuleChange, frozen=True, kw_only=True, gc=False, tag="i", array_like=True):
    pass


Written = (
    _Observed | _Bar | _Quote | _Book | _Funding | _Resume | _Transfer | _Close | _Pause | _Watch | _Listing
    | _Notice | _Answer | _RuleChange
)  # fmt: skip
_WRITTEN: dict[type, Callable[..., Written]] = {
    Bar: _Bar, Quote: _Quote, Book: _Book, Funding: _Funding, Resume: _Resume, Transfer: _Transfer,
    Close: _Close, Pause: _Pause, Watch: _Watch, Listing: _Listing, Notice: _Notice, Answer: _Answer,
    RuleChange: _RuleChange,
}  # fmt: skip
# Its keys are types, which mypy does not see.
_READ: dict[type, Callable[..., Entry]] = {written: kind for kind, written in _WRITTEN.items()}  # type: ignore[misc]


def write_entry(entry: Entry) -> Written:
    """The entry as it is written down."""
    if isinstance(entry, Observed):
        return _Observed(**msgspec.structs.asdict(entry.bar))
    return _WRITTEN[type(entry)](**msgspec.structs.asdict(entry))


def read_entry(written: Written) -> Entry:
    """The entry that was written down so."""
    fields = msgspec.structs.asdict(written)
    return Observed(Bar(**fields)) if isinstance(written, _Observed) else _READ[type(written)](**fields)
