"""Arguments in, exit code out: which command, errors in one line. A command is imported when it is asked for."""

import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot import standard_streams
from bot.commands.options import CommonOptions, options_of
from bot.commands.parser import module_of, parsers
from bot.config_paths import defaults_note
from bot.errors import BotError, ConfigError, InputError, printable
from bot.shipped import look_beside

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

_AS_RECORDED = ("replay", "parity")
"""Commands that go by the configuration that a recording has."""


def main(arguments: Sequence[str], strategies: Mapping[str, str]) -> int:
    """Run one command. ``strategies`` maps names to ``module:Class``; returns the exit code.

    0 a clean stop, 1 a failure at run time, 2 a user's mistake, reported in one line, 130 a finite job cut short.
    """
    options, note, code = CommonOptions(), None, OK
    try:
        given = _parsed(arguments)
        if given is None:
            code = MISUSED
            sys.stdout.flush()
            return code
        options = given
        # It imports numpy, which help must not wait for.
        from bot.config import load

        config = load(
            options.config,
            options.overrides(),
            named_category=options.named_category(),
            note=lambda text: print(f"note: {text}", file=sys.stderr),
        )
        if options.command not in _AS_RECORDED:
            note = defaults_note(options.config)
        look_beside(Path(options.config or "config.toml"))
        code = int(module_of(options.command).run(options, config, strategies))
        # A pipe that was closed shows here at the latest, not while Python ends.
        sys.stdout.flush()
        if note is not None and options.command is not None:
            print(note, file=sys.stderr)
        return code
    except BotError as error:
        if options.traceback:
            traceback.print_exception(error)
        code = MISUSED if isinstance(error, ConfigError | InputError) else FAILED
        where = f" ({note})" if code == MISUSED and note is not None else ""
        print(f"error: {printable(str(error))}{where}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        if options.command is None:
            return OK
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except standard_streams.ReaderGone:
        return code


def _parsed(arguments: Sequence[str]) -> CommonOptions | None:
    """What is asked for; None, after help, for neither a mode nor a command."""
    parser, _ = parsers()
    try:
        args = parser.parse_args(arguments)
    except SystemExit:
        # Help, the version, or what was wrong, which argparse has said.
        sys.stdout.flush()
        raise
    if args.mode is None and args.command is None:
        parser.print_help()
        return None
    if args.json:
        standard_streams.results_are_json()
    options: CommonOptions = options_of(module_of(args.command).Options, args)
    return options
