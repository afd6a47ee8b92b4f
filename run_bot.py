"""Paper trading on Bybit's market data, with a memory. `python run_bot.py --help` says how."""

import sys

from bot.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
