"""Decimal bars become float rows: the last closed bars of one symbol, and what follows from them alone."""


class FeatureWindow:
    pass
