"""A recording gives back what was noted, up to where it was cut, and nothing at all where it is damaged."""

import asyncio
import resource
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.errors import InputError, StoreError
from bot.market import Bar, Funding, Notice, Quote, RuleChange
from bot.store.recording.entries import Entry, Observed
from bot.store.recording.header import Header
from bot.store.recording.reader import Recording
from bot.store.recording.recorder import record
from bot.trading.account import began_with
from bot.trading.ledger import Ledger
from bot.trading.opening import Opening
from tests.factories import START_MS, a_bar, a_fill, a_quote, a_tier, an_instrument, an_order

REAL = Path(__file__).parents[2] / "recordings" / "killed.rec.zst"
BYTES = REAL.read_bytes()

OTHERS = (
    Quote(
        symbol="ETHUSDT", time_ms=START_MS, bid=Decimal("1.10"), bid_size=Decimal("3E+2"),
        ask=Decimal("1.20"), ask_size=Decimal(0), mark=Decimal("1.15"),
    ),
    Funding(symbol="BTCUSDT", time_ms=START_MS, rate=Decimal("-0.000100"), mark_price=Decimal("64000.10")),
    Notice(kind="gap", time_ms=START_MS, symbol=None, detail="häßlich"),
)  # fmt: skip


def a_header(**fields) -> Header:
    ledger = Ledger(Decimal("10000.00"))
    ledger.post([a_fill(1, quantity="0.3", price="33.1", fee="0.01")])
    known = {
        "session_id": 3,
        "started_ms": START_MS,
        "mode": "demo",
        "category": "linear",
        "config_json": "{}",
        "checkpoint_sha256": None,
        "strategy": "strategies.buy_and_hold:BuyAndHoldStrategy",
        "made_with": {"bot": "0.1.0"},
        "instruments": (an_instrument(),),
        "opening": Opening(
            ledger=ledger.snapshot(),
            open_orders=(an_order(id=4, limit_price=Decimal("99.50")),),
            next_signal_id=7,
            next_order_id=5,
            next_fill_id=2,
            account=began_with(Decimal("10000.00")),
        ),
        "equity": Decimal("9999.990"),
    }
    return Header(**(known | fields))


def recorded(folder: Path, entries: Sequence[Entry], *, every: int = 1, header: Header | None = None) -> Path:
    """A finished recording, committed after so many entries each."""

    async def write() -> Path:
        async with record(folder, header or a_header()) as recorder:
            for number, entry in enumerate(entries, 1):
                recorder.note(entry)
                if number % every == 0:
                    await recorder.commit()
        return recorder.path

    return asyncio.run(write())


def text_of(recording: Recording) -> str:
    """Header and entries with every digit of their decimals."""
    return repr((recording.header, list(recording)))


def test_what_was_noted_comes_back_in_order_with_every_digit(tmp_path):
    entries = (
        Observed(a_bar(0, close="100.10", source="history")),
        Observed(a_bar(1, turnover=Decimal("12.3400"))),
        a_bar(2, source="backfill", late=True, volume="0E-8"),
        *OTHERS,
        a_bar(3, symbol="ETHUSDT", close=Decimal("1E-12")),
    )
    recording = Recording.read(recorded(tmp_path, entries))
    assert text_of(recording) == repr((a_header(), list(entries)))
    assert [type(entry) for entry in recording] == [type(entry) for entry in entries]
    assert (recording.entries, recording.cut_bytes) == (7, 0)


@pytest.mark.parametrize("kind", [Bar, Quote, Funding, Notice, RuleChange])
def test_no_field_of_what_the_core_sees_is_left_out(tmp_path, kind):
    # A field that is added to one of these must find its way into the recording too.
    rules = RuleChange(time_ms=START_MS, rules=an_instrument(tiers=(a_tier("5", "0.1", "3"),), known_ms=7))
    seen = (*OTHERS, rules, a_bar(2, late=True, source="backfill"))
    entry = next(one for one in seen if type(one) is kind)
    (back,) = Recording.read(recorded(tmp_path, [entry]))
    for name in kind.__struct_fields__:
        assert getattr(back, name) == getattr(entry, name)


def test_thousands_of_entries_without_a_commit_come_back_too(tmp_path):
    quotes = [a_quote(time_ms=START_MS + index) for index in range(3_500)]
    assert list(Recording.read(recorded(tmp_path, quotes, every=10_000))) == quotes


def test_a_file_is_named_after_start_and_session_and_never_overwritten(tmp_path):
    first = recorded(tmp_path / "a" / "b", [])
    second = recorded(tmp_path / "a" / "b", [])
    assert [first.name, second.name] == ["20231115T000000Z-3.rec.zst", "20231115T000001Z-3.rec.zst"]


def test_what_is_committed_is_on_the_disk_and_what_is_not_yet_is_not(tmp_path):
    async def write() -> None:
        async with record(tmp_path, a_header()) as recorder:
            assert list(Recording.read(recorder.path)) == []
            recorder.note(a_bar(0))
            recorder.note(a_quote())
            assert list(Recording.read(recorder.path)) == []
            await recorder.commit()
            assert list(Recording.read(recorder.path)) == [a_bar(0), a_quote()]
            recorder.note(a_bar(1))
        assert list(Recording.read(recorder.path)) == [a_bar(0), a_quote(), a_bar(1)]

    asyncio.run(write())


def test_a_recording_that_grows_is_read_as_far_as_it_was_checked(tmp_path):
    async def write() -> None:
        async with record(tmp_path, a_header()) as recorder:
            recorder.note(a_bar(0))
            await recorder.commit()
            recording = Recording.read(recorder.path)
            recorder.note(a_bar(1))
            await recorder.commit()
            assert list(recording) == [a_bar(0)]

    asyncio.run(write())


def test_the_header_does_not_grow_with_the_fills(tmp_path):
    def size(rounds: int) -> int:
        ledger = Ledger(Decimal(10_000))
        for index in range(2 * rounds):
            time_ms = START_MS + index
            ledger.post([a_fill(index + 1, side="sell" if index % 2 else "buy", time_ms=time_ms)])
            ledger.settle(Funding(symbol="BTCUSDT", time_ms=time_ms, rate=Decimal(0), mark_price=Decimal(1)))
        opening = replace(a_header().opening, ledger=ledger.snapshot())
        folder = tmp_path / str(rounds)
        return recorded(folder, [], header=a_header(opening=opening)).stat().st_size

    assert abs(size(500) - size(1)) < 20


HEADER_END = 8 + 12 + int.from_bytes(BYTES[8:12])


@settings(max_examples=150, deadline=None)
@given(st.integers(HEADER_END, len(BYTES) - 1))
def test_cut_at_any_byte_it_holds_its_whole_records(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "cut.rec.zst"
    path.write_bytes(BYTES[:length])
    whole, cut = Recording.read(REAL), Recording.read(path)
    assert list(cut) == list(whole)[: cut.entries]
    path.write_bytes(BYTES[: length - cut.cut_bytes])
    # Nothing that was whole is behind the cut, and where the last record ends, nothing is.
    assert (Recording.read(path).entries, Recording.read(path).cut_bytes) == (cut.entries, 0)
    assert cut.cut_bytes < 12 or cut.cut_bytes < 12 + int.from_bytes(BYTES[length - cut.cut_bytes :][:4])


def test_what_a_cut_leaves_off_is_at_most_one_record():
    ends, position = [], 8
    while position < len(BYTES):
        position += 12 + int.from_bytes(BYTES[position : position + 4])
        ends.append(position)
    assert ends[-1] == len(BYTES)
    assert ends[0] == HEADER_END
    assert len(ends) > 60


@settings(max_examples=60, deadline=None)
@given(st.integers(0, HEADER_END - 1))
def test_cut_within_its_header_it_is_refused(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "cut.rec.zst"
    path.write_bytes(BYTES[:length])
    with pytest.raises(InputError, match=r"is cut off within its header|is not a recording") as refusal:
        Recording.read(path)
    assert "\n" not in str(refusal.value)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_with_any_byte_changed_it_is_refused(tmp_path_factory, position, change):
    path = tmp_path_factory.mktemp("flipped") / "flipped.rec.zst"
    changed = bytearray(BYTES)
    changed[position] ^= change
    path.write_bytes(changed)
    with pytest.raises(InputError) as refusal:
        Recording.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not a recording of this bot"),
        (b"SQLite format 3\0" * 9, "is not a recording of this bot"),
        (BYTES[:7] + b"\x02" + BYTES[8:], "has format version 2, this bot reads version 1"),
    ],
)
def test_a_foreign_file_and_another_format_are_told_apart(tmp_path, content, complaint):
    path = tmp_path / "some.rec.zst"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        Recording.read(path)


def test_a_missing_file_and_a_folder_are_one_line_each(tmp_path):
    for path in (tmp_path / "none.rec.zst", tmp_path):
        with pytest.raises(InputError, match="cannot read the recording"):
            Recording.read(path)


def test_a_place_where_nothing_can_be_recorded_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot record into .*file: .*run.recordings"):
        recorded(tmp_path / "file", [])


def test_a_full_disk_stops_the_session_and_leaves_what_was_whole(tmp_path):
    async def write() -> Path:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        async with record(tmp_path, a_header()) as recorder:
            recorder.note(a_bar(0))
            await recorder.commit()
            recorder.note(a_bar(1, close="123.456"))
            # Room for half a record.
            room = recorder.path.stat().st_size + 20
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
            try:
                with pytest.raises(StoreError, match="the session cannot be recorded"):
                    await recorder.commit()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            recorder.note(a_bar(2))
        return recorder.path

    recording = Recording.read(asyncio.run(write()))
    assert list(recording) == [a_bar(0)]
    assert recording.cut_bytes == 20
