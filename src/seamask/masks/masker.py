"""What a masker is, and which there are.

A masker is a module with one interface: images `[B, 3, H, W]`, normalised, and what it may need
beside them → masks `[B, N, H, W]` in [0, 1], 1 = removed. What it may need:

- `generator`: a CPU generator for what is drawn, so that masks do not depend on the device;
- `objects`: labels of pixels, integer `[B, H, W]`: 0 background, k = object k, 255 = void;
- `shares`: `[B, N]` or `[B, 1]`, what each mask must remove exactly; None: as the masker likes.

Its attribute `learned` says whether it is a player with weights of its own, `n_masks` is N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from seamask.base.registry import Registry

# Settings of the group `masks` and the side of the images in pixels → the masker.
MASKERS: Registry[Callable[[Any, int], nn.Module]] = Registry("masker", "masks")
