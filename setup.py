"""Which packages are installed, and as what; everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

# An installation may hold any number of packages called `strategies`, so those that ship get a name of their own.
SHIPPED = "paper_trading_bot_strategies"

setup(packages=[*find_packages(include=["bot*"]), SHIPPED], package_dir={SHIPPED: "strategies"})
