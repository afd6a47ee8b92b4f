"""A strategy's own settings: declared as a Struct or dataclass, filled from configuration, text or Python."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from bot.errors import ConfigError

KEY = "strategy.options"

T = TypeVar("T")


class Option(Struct, frozen=True, kw_only=True):
    """One setting as declared: ``type`` and ``range`` are text, ``default`` None where it must be given."""

    name: str
    type: str
    default: Any = None
    required: bool = False
    range: str = ""


def declared_options(strategy: type) -> type | None:
    """The class's ``Options``; None where it declares none. ConfigError for what can hold no settings."""
    declared = getattr(strategy, "Options", None)
    if declared is None:
        return None
    if not isinstance(declared, type) or not (
        issubclass(declared, Struct) or dataclasses.is_dataclass(declared)
    ):
        raise ConfigError(
            f"strategy.name: {strategy.__name__}.Options is neither a msgspec Struct nor a dataclass"
        )
    return declared


def read_options(declared: type[T], given: Mapping[str, Any]) -> T:
    """What was given as an instance of ``declared``; text becomes numbers where those are declared.

    Raises ConfigError that names the key for an unknown option, a missing one, and a value of the wrong type or
    out of its range. What ``__post_init__`` raises as ValueError is such an error of all options together.
    """
    options = {option.name: option for option in described(declared)}
    for name in given:
        if name not in options:
            raise ConfigError(f"{KEY}.{name}: {_unknown(name, list(options))}")
    for option in options.values():
        if option.required and option.name not in given:
            raise ConfigError(
                f"{KEY}.{option.name}: must be given, it has no default ({_meant(option)}); "
                f"--option {option.name}=… does so too"
            )
    try:
        found = msgspec.convert(dict(given), declared, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        what = what[:1].lower() + what[1:]
        if not where:
            raise ConfigError(f"{KEY}: {what}") from error
        name = where.rstrip("`").lstrip(".").partition("[")[0]
        raise ConfigError(f"{KEY}.{name} = {given.get(name)}: {what}") from error
    for name in options:
        value = getattr(found, name, None)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{KEY}.{name} = {value}: no finite number")
    return found


def described(declared: type) -> tuple[Option, ...]:
    """Every option that a class declares, in its order."""
    return tuple(_options(declared))


def _options(declared: type) -> Iterator[Option]:
    information = types.type_info(declared)
    assert isinstance(information, types.StructType | types.DataclassType)
    for field in information.fields:
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        known = {} if default is msgspec.NODEFAULT else {"default": default}
        yield Option(
            name=field.encode_name,
            type=_type_text(field.type),
            required=field.required,
            range=_range_text(field.type),
            **known,
        )


def _type_text(kind: types.Type) -> str:
    match kind:
        case types.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case types.UnionType(types=parts):
            return " or ".join(map(_type_text, parts))
        case types.Metadata(type=inner):
            return _type_text(inner)
    return type(kind).__name__.removesuffix("Type").lower()


def _range_text(kind: types.Type) -> str:
    if not isinstance(kind, types.IntType | types.FloatType):
        return ""
    if kind.ge is not None and kind.le is not None:
        return f"{kind.ge} to {kind.le}"
    bounds = {"at least": kind.ge, "above": kind.gt, "at most": kind.le, "below": kind.lt}
    return ", ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)


def _meant(option: Option) -> str:
    return f"{option.type} {option.range}".strip()


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return "the strategy takes no options"
    close = get_close_matches(name, known, 1)
    cure = f"; {close[0]} is one" if close else ""
    return f"no option of this strategy, which has {', '.join(known)}{cure}"
