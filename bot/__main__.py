"""The program: `python -m bot`, the command `paper-trading-bot`, and `run_bot.py` of a clone."""

import signal
import sys

from bot import standard_streams

_WINDOWS = (
    "error: the bot runs on Linux and macOS, and on Windows inside WSL: wsl --install, then start it there; "
    "Windows itself lacks the locks that its databases need"
)


def main() -> int:
    """Run what the command line asks for; the exit code."""
    if sys.platform == "win32":
        print(_WINDOWS, file=sys.stderr)
        return 2
    standard_streams.secure()
    # What stops a service is as clean an end as Ctrl-C, also before a session listens for both.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    try:
        from bot import cli
        from bot.shipped import shipped_strategies

        return cli.main(sys.argv[1:], shipped_strategies())
    except ModuleNotFoundError as error:
        print(
            f"error: Python has no {error.name} here; run `make setup`, then .venv/bin/python",
            file=sys.stderr,
        )
        return 2
    finally:
        standard_streams.finish()


if __name__ == "__main__":
    sys.exit(main())
