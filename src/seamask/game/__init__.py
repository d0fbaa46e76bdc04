"""The game: two players, the step that each takes, as the paper writes it and fast."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
