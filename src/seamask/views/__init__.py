"""Image augmentation in batches, on the device that the images are on.

`draw` draws the parameters of every image on the CPU, `apply` turns images into views with a
handful of batched operations, `crop_masks` takes label maps through the same geometry. `Views`
does it all for training; `normalize` is the deterministic view for evaluation.

Every operator equals its torchvision counterpart on float images up to rounding.
"""

from seamask.views.geometry import crop_masks
from seamask.views.parameters import ViewParameters, draw
from seamask.views.pipeline import Views, apply, normalize

__all__ = ["ViewParameters", "Views", "apply", "crop_masks", "draw", "normalize"]
