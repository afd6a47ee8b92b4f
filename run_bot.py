"""Paper trading on Bybit's market data, with a memory. `python run_bot.py --help` says how."""

import signal
import sys

from bot.cli import main
from strategies import STRATEGIES

if __name__ == "__main__":
    # What stops a service is as clean an end as Ctrl-C, also before a session listens for both.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:], STRATEGIES))
    except ModuleNotFoundError as error:
        print(
            f"error: Python has no {error.name} here; run `make setup`, then .venv/bin/python",
            file=sys.stderr,
        )
        sys.exit(2)
