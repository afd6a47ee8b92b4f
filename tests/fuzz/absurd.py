"""Values that no session writes, for any place that takes one."""

import json
from random import Random
from typing import Any

INTEGERS = (
    *(-1, 0, 1, 2, 7, -(2**63), 2**63 - 1, 2**53, 2**53 + 1, 2**31, -(2**31)),
    *(253_402_300_799_999, 253_402_300_800_000, 10**15, -(10**15), 10**18, 1_700_000_000_000),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), 1e17, 2.0)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "-0",
        "0",
        "-1",
        "1",
        "1e999999",
        "1E+25",
        "1E-70",
    ),
    *(
        "1e-999999999",
        "9" * 10_000,
        "0." + "3" * 5_000,
        "null",
        "[]",
        "{}",
        "[" * 20_000,
        '{"a":' * 5_000,
        "\0",
    ),
    *(
        "a\0b",
        "é" * 100,
        "币安人生USDT",
        "\x1b[31m",
        "line\nline",
        "long",
        "hold",
        "buy",
        "15",
        "D",
        "W",
        "7",
    ),
    *("x" * 1_000_000, "'; DROP TABLE fills; --", "../../etc/passwd", "%s%n", "2024-01-01", "true", "\uff11"),
)
BLOBS = (b"", b"\0", b"\xff\xfe", b"\x80" * 50)


def value(random: Random) -> Any:
    """Something of any type."""
    return random.choice(
        (
            lambda: random.choice(INTEGERS),
            lambda: random.choice(FLOATS),
            lambda: random.choice(TEXTS),
            lambda: random.choice(BLOBS),
            lambda: None,
        )
    )()


def like(random: Random, old: Any) -> Any:
    """Something of the type of what is there, most of the time."""
    if random.random() < 0.15:
        return value(random)
    if isinstance(old, int):
        return random.choice((*INTEGERS, old + 1, old - 1, -old, old * 1000))
    if isinstance(old, float):
        return random.choice((*FLOATS, -old, old * 1e6))
    if isinstance(old, str):
        if old[:1] in ("{", "[") and random.random() < 0.8:
            return within_json(random, old)
        return random.choice((*TEXTS, f"-{old}", old * 2, old[:-1], f"{old}e5"))
    return value(random)


def within_json(random: Random, text: str) -> str:
    """The same JSON with one thing in it another."""
    tree = json.loads(text)
    return json.dumps(within(random, tree))


def within(random: Random, tree: Any) -> Any:
    """The same tree of values with one of them another, gone or twice there."""
    if isinstance(tree, dict) and tree and random.random() < 0.9:
        key = random.choice(sorted(tree, key=str))
        match random.randrange(12):
            case 0:
                return {name: inner for name, inner in tree.items() if name != key}
            case 1:
                return {**tree, random.choice(TEXTS)[:50]: tree[key]}
            case _:
                return {**tree, key: within(random, tree[key])}
    if isinstance(tree, list | tuple) and tree and random.random() < 0.9:
        place = random.randrange(len(tree))
        match random.randrange(12):
            case 0:
                return [*tree[:place], *tree[place + 1 :]]
            case 1:
                return [*tree, tree[place]]
            case _:
                return [*tree[:place], within(random, tree[place]), *tree[place + 1 :]]
    found = like(random, tree)
    return found.hex() if isinstance(found, bytes) else found


def damaged(random: Random, data: bytes) -> bytes:
    """The same bytes with some flipped, cut off, doubled or blanked."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 3, 20))):
        if not found:
            return b""
        place = random.randrange(len(found))
        length = random.choice((1, 2, 4, 16, 4096))
        match random.randrange(7):
            case 0 | 1:
                found[place] ^= 1 << random.randrange(8)
            case 2:
                found[place] = random.choice((0, 0xFF, 0x7F, 0x80, random.randrange(256)))
            case 3:
                found[place : place + length] = bytes(len(found[place : place + length]))
            case 4:
                del found[place:]
            case 5:
                del found[place : place + length]
            case 6:
                found[place:place] = found[place : place + length]
    return bytes(found)
