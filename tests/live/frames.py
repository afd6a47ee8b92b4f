"""What can be wrong with a frame, whatever it is about."""

import json
from collections.abc import Callable, Sequence

from tests.live.proxy import Bytes, Cut, Out, ws_frame
from tests.live.trial import Kind, Message

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MEGABYTE = 1_000_000


def say(*outs: Out) -> Callable[[Message, Sequence[Message]], list[Out]]:
    """The same, whatever was going to be said."""
    return lambda message, past: list(outs)


def control(**fields: object) -> Callable[[Message, Sequence[Message]], list[Out]]:
    return say(json.dumps({"success": True, "ret_msg": "", "conn_id": "x", "req_id": "", "op": "", **fields}))


def encoded(message: Message) -> bytes:
    return json.dumps(message).encode()


def fragmented(message: Message, past: Sequence[Message]) -> list[Out]:
    raw = encoded(message)
    parts = [raw[:7], raw[7:50], raw[50:]]
    return [
        Bytes(ws_frame(TEXT, parts[0], fin=False) + ws_frame(0, parts[1], fin=False)),
        Bytes(ws_frame(PING, b"between") + ws_frame(0, parts[2])),
    ]


TOLD = {
    "an unknown op": control(op="dance"),
    "an op that is a number": control(op=7),
    "an op of null": control(op=None),
    "success that is text": control(op="subscribe", success="no"),
    "a refusal of what nobody asked": control(op="subscribe", success=False, req_id="kline.15.NOBODYUSDT"),
    "a refusal of what was granted": lambda message, past: list(
        control(op="subscribe", success=False, req_id=message["topic"], ret_msg="error:handler not found")(
            message, past
        )
    ),
    "a refusal without a name": control(op="subscribe", success=False, ret_msg="x" * 100_000),
    "a ret_msg of null": control(op="subscribe", ret_msg=None),
    "an end of a subscription": control(op="unsubscribe", req_id="kline.15.BTCUSDT"),
    "a demand to authenticate": control(op="auth", success=False, ret_msg="error:login required"),
    "a pong that nobody asked": control(op="pong", ret_msg="pong"),
    "a ping from the exchange": say('{"op":"ping"}'),
    "a thousand pongs": say(*['{"success":true,"ret_msg":"pong","op":"ping"}'] * 1_000),
    "empty text": say(""),
    "white space": say(" \n\t "),
    "null": say("null"),
    "a number": say("42"),
    "a word": say('"kline"'),
    "an empty list": say("[]"),
    "an empty object": say("{}"),
    "a web page": say("<html><body>502 Bad Gateway</body></html>"),
    "half a message": lambda message, past: [json.dumps(message)[:60]],
    "a message and a half": lambda message, past: [json.dumps(message) + json.dumps(message)[:60]],
    "a message with a byte order mark": lambda message, past: ["\ufeff" + json.dumps(message)],
    "a message with NUL": lambda message, past: [json.dumps(message) + "\0"],
    "a key twice": lambda message, past: ['{"topic":"kline.15.NOBODYUSDT",' + json.dumps(message)[1:]],
    "a lone surrogate": say('{"topic":"\\ud800"}'),
    "lists a hundred thousand deep": say("[" * 100_000),
    "data a hundred thousand deep": lambda message, past: [
        json.dumps(message | {"data": "@"}).replace('"@"', "[" * 100_000 + "]" * 100_000)
    ],
    "objects a hundred thousand deep": say('{"data":' * 100_000 + "1" + "}" * 100_000),
    "an integer of half a million digits": say('{"ts":' + "9" * 500_000 + "}"),
    "a binary frame of nonsense": say(b"\xff\xfe\x00\x9f"),
    "an empty binary frame": say(b""),
    "a message in a binary frame": lambda message, past: [encoded(message)],
    "a binary frame of invalid UTF-8": lambda message, past: [
        encoded(message).replace(b"15", b"\xc3\x28", 1)
    ],
    "a thousand binary frames": say(*[b"\xff"] * 1_000),
    "a message in fragments with a ping between": fragmented,
    "a message in a thousand fragments": lambda message, past: [
        Bytes(
            ws_frame(TEXT, b"", fin=False)
            + b"".join(ws_frame(0, bytes([one]), fin=False) for one in encoded(message))
            + ws_frame(0, b"")
        )
    ],
    "a ping with data": say(Bytes(ws_frame(PING, b"x" * 125))),
    "a thousand pings": say(Bytes(ws_frame(PING, b"") * 1_000)),
    "a thousand pongs of the protocol": say(Bytes(ws_frame(PONG, b"") * 1_000)),
}

# These may cost the connection, and never more.
ENDING = {
    "a frame of 10 MB": say('{"topic":"' + "x" * 10 * MEGABYTE + '"}'),
    "a message of 10 MB": lambda message, past: [json.dumps(message | {"data": 20_000 * message["data"]})],
    "a binary frame of 10 MB": say(b"\0" * 10 * MEGABYTE),
    "text that is no UTF-8": say(Bytes(ws_frame(TEXT, b"\xff\xfe\xfd"))),
    "fragments that never end": say(
        Bytes(ws_frame(TEXT, b"{", fin=False) + ws_frame(0, b" " * 1_000, fin=False) * 5_000)
    ),
    "the rest of a message that never began": say(Bytes(ws_frame(0, b"{}"))),
    "a message within a message": say(Bytes(ws_frame(TEXT, b"{", fin=False) + ws_frame(TEXT, b"}"))),
    "a compressed frame that nobody agreed on": say(Bytes(ws_frame(TEXT, b"\xaa\x56\x2a", reserved=4))),
    "reserved bits": say(Bytes(ws_frame(TEXT, b"{}", reserved=3))),
    "an unknown opcode": say(Bytes(ws_frame(5, b"{}"))),
    "a ping of 200 bytes": say(Bytes(ws_frame(PING, b"x" * 200))),
    "a ping in fragments": say(Bytes(ws_frame(PING, b"x", fin=False))),
    "a frame with a mask": say(Bytes(b"\x81\x82\x01\x02\x03\x04" + bytes([ord("{") ^ 1, ord("}") ^ 2]))),
    "a frame of 2^62 bytes": say(Bytes(ws_frame(TEXT, b"{}", length=2**62)), Cut()),
    "a frame of 2^63 bytes": say(Bytes(ws_frame(TEXT, b"{}", length=2**63)), Cut()),
    "HTTP in the middle": say(Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Cut()),
    "random bytes": say(Bytes(bytes(range(256)) * 40), Cut()),
    "a cut within a frame": lambda message, past: [Bytes(ws_frame(TEXT, encoded(message))[:40]), Cut()],
    "a cut within a head": say(Bytes(b"\x81"), Cut()),
    "a cut within a length": say(Bytes(b"\x81\x7f\0\0"), Cut()),
    "an end without a word": say(Cut()),
    "a close frame of one byte": say(Bytes(ws_frame(CLOSE, b"\x03")), Cut()),
    "a close reason that is no UTF-8": say(Bytes(ws_frame(CLOSE, b"\x03\xe8\xff\xfe")), Cut()),
    "a close reason in lines": say(Bytes(ws_frame(CLOSE, b"\x03\xe8a\nb\r\nc\x1b[31m")), Cut()),
    "an empty close frame": say(Bytes(ws_frame(CLOSE, b"")), Cut()),
    **{f"close code {code}": say(Cut(code)) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013)},
    **{f"close code {code}": say(Cut(code)) for code in (999, 1005, 1006, 1015, 2999, 4000, 5000, 65_535)},
}  # fmt: skip

SPOKEN = [Kind(name=f"before a confirmation, {name}", make=make) for name, make in TOLD.items()]
BROKEN_OFF = [
    Kind(name=f"before a confirmation, {name}", make=make, times=1) for name, make in ENDING.items()
]
