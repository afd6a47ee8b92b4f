"""Paper trading on Bybit's market data, with a memory. `python run_bot.py --help` says how."""

import sys

from bot.cli import main
from strategies import STRATEGIES

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], STRATEGIES))
