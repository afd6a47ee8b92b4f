"""Table: what a Struct looks like on the disk, said once; statements, rows and values follow from it."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from bot.exact import plain

Row = tuple[Any, ...]
T = TypeVar("T", bound=Struct)

_encode = msgspec.json.Encoder(decimal_format="string").encode


class Column(Struct, frozen=True, kw_only=True):
    """One column. ``type`` is its value's: int, float, bool, str or Decimal, and object for what is kept as JSON.

    ``field`` is the Struct's field that is read from it, None where none is, and ``encoded`` its name when encoded.
    ``given`` says that its value is handed in when a row is made, and goes to the disk as it is.
    """

    name: str
    type: type
    nullable: bool
    field: str | None
    encoded: str
    annotation: Any
    given: bool = False

    @property
    def sql(self) -> str:
        """The type that SQLite keeps it as."""
        return {int: "INTEGER", bool: "INTEGER", float: "REAL"}.get(self.type, "TEXT")


class Table(Generic[T]):
    """A table, and the Struct that its rows are read as. A further field of the Struct is a further column.

    Decimals are kept as exact text, what is neither number nor text as JSON. ``named`` gives the columns that are
    not called like their field. ``left_out`` are fields that are not kept. ``given`` are fields, and ``beside`` the
    columns (with their types) that no field says: both are handed in when a row is made. ``derived`` are columns
    for people (with their types), computed from the value. ``key`` tells rows apart; ``numbered`` is the column
    that SQLite counts. ``kept`` are columns whose first value stays when a row is written again.

    ``row(value, ...)`` makes a row of whatever has the Struct's fields, in the order of ``written``. What is handed
    in goes by the names of its columns, or in order: the fields', then that of ``beside``.
    ``build(row)`` makes the value of a row that was selected by ``selected``, without checking it.
    """

    def __init__(
        self,
        name: str,
        struct: type[T],
        *,
        key: tuple[str, ...] = ("id",),
        numbered: str = "",
        named: Mapping[str, str] = {},
        left_out: Sequence[str] = (),
        given: Sequence[str] = (),
        beside: Mapping[str, Any] = {},
        derived: Mapping[str, tuple[Any, Callable[[T], Any]]] = {},
        kept: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.struct = struct
        self.key = key
        self.numbered = numbered
        fields = [
            _column(
                named.get(field.name, field.encode_name),
                field.type,
                field.name,
                encoded=field.encode_name,
                given=field.name in given,
            )
            for field in msgspec.structs.fields(struct)
            if field.name not in left_out
        ]
        self.fields = tuple(fields)
        """The columns that the Struct is read from, in the order of its fields."""
        known = {column.name for column in fields}
        computed = [_column(name, type) for name, (type, _) in derived.items()]
        others = [_column(name, type, given=True) for name, type in beside.items()]
        counted = [] if not numbered or numbered in known else [_column(numbered, int)]
        self.columns = (*counted, *fields, *computed, *others)
        """All of the table's columns."""
        self.written = tuple(column.name for column in self.columns if column.name != numbered)
        self.changing = tuple(name for name in self.written if name not in (*key, *kept))
        """The columns that change when a row is written again, whatever they held."""
        self.selected = ", ".join(column.name for column in fields)
        values = f"({', '.join(self.written)}) VALUES ({', '.join('?' * len(self.written))})"
        self.insert = f"INSERT INTO {name} {values}"
        """The statement that writes new rows."""
        self.insert_missing = f"{self.insert} ON CONFLICT DO NOTHING"
        """The statement that writes rows whose key is not there yet, and leaves the others alone."""
        self.replace = f"INSERT OR REPLACE INTO {name} {values}"
        """The statement that writes rows, in place of earlier ones with the same key."""
        changes = [f"{each} = excluded.{each}" for each in self.changing]
        changes += [
            f"{column.name} = coalesce({column.name}, excluded.{column.name})"
            for column in others
            if column.name in kept and column.nullable
        ]
        self.upsert = f"{self.insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
        """The statement that writes rows; of earlier ones with the same key, ``kept`` stays if it was not NULL."""
        self.row: Callable[..., Row] = self._compiled_row({name: each for name, (_, each) in derived.items()})
        self.build: Callable[[Row], T] = self._compiled_build()

    def _compiled_row(self, derived: Mapping[str, Callable[[T], Any]]) -> Callable[..., Row]:
        """A function as if written by hand: rows are made at every bar, and a loop over columns takes its time."""
        names: dict[str, Any] = {"plain": plain, "encode": _encode}
        arguments, values = ["value"], []
        # What is handed in comes in the order in which the table names it.
        for column in self.columns:
            if column.name == self.numbered:
                continue
            if column.given:
                arguments.append(column.name)
                values.append(column.name)
            elif column.field is None:
                names[f"derived_{column.name}"] = derived[column.name]
                values.append(_written(column, f"derived_{column.name}(value)"))
            else:
                values.append(_written(column, f"value.{column.field}"))
        made: Callable[..., Row] = eval(f"lambda {', '.join(arguments)}: ({', '.join(values)},)", names)
        return made

    def _compiled_build(self) -> Callable[[Row], T]:
        names: dict[str, Any] = {"struct": self.struct, "Decimal": Decimal}
        values = []
        for place, column in enumerate(self.fields):
            value = f"row[{place}]"
            if column.type is Decimal:
                value = _converted(column, value, "Decimal({})")
            elif column.type is object:
                names[f"decode_{column.field}"] = msgspec.json.Decoder(column.annotation).decode
                value = _converted(column, value, f"decode_{column.field}({{}})")
            values.append(f"{column.field}={value}")
        made: Callable[[Row], T] = eval(f"lambda row: struct({', '.join(values)})", names)
        return made


def _column(
    name: str, annotation: Any, field: str | None = None, *, encoded: str = "", given: bool = False
) -> Column:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    bare = [kind for kind in kinds if kind is not NoneType]
    kind: Any = bare[0] if len(bare) == 1 else object
    if get_origin(kind) is Literal:
        kind = type(get_args(kind)[0])
    return Column(
        name=name,
        type=kind if kind in (int, float, bool, str, Decimal) else object,
        nullable=len(bare) < len(kinds),
        field=field,
        encoded=encoded,
        annotation=annotation,
        given=given,
    )


def _written(column: Column, value: str) -> str:
    """What makes a column's value of the Struct's, as Python source."""
    if column.type is Decimal:
        return _converted(column, value, "plain({})")
    if column.type is object:
        return _converted(column, value, "encode({}).decode()")
    return value


def _converted(column: Column, value: str, conversion: str) -> str:
    """The value converted, and None left as it is."""
    if not column.nullable:
        return conversion.format(value)
    return f"None if (found := {value}) is None else {conversion.format('found')}"
