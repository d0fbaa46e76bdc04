"""Masks: who removes what from an image, and what it costs. The heart of the house.

`masker` says what a masker is, `penalties` what an adversary pays, `budget` how much it may remove.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
