"""History that is nobody's account: bars, settled funding rates and trading rules, by venue and category."""
