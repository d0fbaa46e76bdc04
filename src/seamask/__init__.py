"""seamask: self-supervised visual pretraining with learned, sequential adversarial masks.

The public names, each given once in `__init__.pyi`, are imported when they are first used: what
needs no torch does not wait for it, and masks and penalties need nothing but torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
