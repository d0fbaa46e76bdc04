"""Objectives: what an encoder learns from an anchor and another view; they know no masks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
