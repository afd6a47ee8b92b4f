"""What can go wrong, in three kinds: a user's mistake, the weather, a contradiction."""

_LONGEST_LINE = 1_200


class BotError(Exception):
    """Base of every error that the bot raises on purpose; its text is one line for a person."""


class ConfigError(BotError):
    """A user's mistake in configuration or arguments. Exit code 2."""


class InputError(BotError):
    """A user's mistake in an input file or database. Exit code 2."""


class StrategyError(InputError):
    """A strategy raised, or answered with what is no Signal. Exit code 2."""


class SignalError(ValueError):
    """What is no Signal: the text names the field. Raised in whoever makes one, so it is no BotError."""


class FeedError(BotError):
    """Weather: the exchange or the network failed in a way that is worth a retry."""


class StoreError(BotError):
    """The disk failed at run time: full, read-only, locked. Exit code 1."""


class DatabaseLocked(StoreError):
    """Another program keeps the database locked."""


class BrokenInvariant(BotError):
    """A contradiction in the books. The bot stops before anything is written. Exit code 1."""


def shortened(told: object, longest: int = 200) -> str:
    """What another program's error says, on one line and no longer than is read."""
    text = " ".join(str(told).split())
    return text if len(text) <= longest else f"{text[:longest]}…"


def printable(text: str) -> str:
    """One line that a terminal shows as it is, whatever a stranger's words in it hold, and however many."""
    if len(text) > _LONGEST_LINE:
        # What went wrong stands at the beginning, and how to mend it at the end.
        text = f"{text[: _LONGEST_LINE // 2]} … {text[-_LONGEST_LINE // 4 :]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
