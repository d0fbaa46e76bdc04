"""Image augmentation in batches, on the device that the images are on.

`draw` draws the parameters of every image on the CPU, `apply` turns images into views with a
handful of batched operations, `crop_masks` takes label maps through the same geometry. `Views`
does it all for training; `normalize` is the deterministic view for evaluation.

Every operator equals its torchvision counterpart on float images up to rounding.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
