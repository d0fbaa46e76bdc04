"""I-JEPA (Assran et al., CVPR 2023): one large block is seen, less several that are removed."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn_per_image
from seamask.base.errors import check_whole
from seamask.masks.cells import cells_of, to_pixels
from seamask.masks.masker import MASKERS
from seamask.masks.settings import RandomSettings

TARGETS = 4  # blocks that are removed (section 4 of the paper)
TARGET_SCALE, TARGET_ASPECT = (0.15, 0.2), (0.75, 1.5)
CONTEXT_SCALE, CONTEXT_ASPECT = (0.85, 1.0), (1.0, 1.0)
KEPT = 4  # cells that stay to be seen, more than (its code: `min_keep`)


class MultiBlockMasker(nn.Module):
    """Show a context block less four target blocks; remove the rest.

    Scale, aspect ratio and place of each block are uniform. How much is removed follows: about two
    thirds. Beside its code (`src/masks/multiblock.py`), sizes are drawn for each image, not once a
    batch, scale and aspect by themselves, as the paper says, and the last row and column may be
    covered. A target that would leave no more than four cells to be seen is left out.

    Args:
        n_masks: N, masks per image, drawn independently.
        patch: side of a cell in pixels, which must divide the image's sides; 1: pixels.
    """

    learned = False

    def __init__(self, n_masks: int = 1, patch: int = 8) -> None:
        super().__init__()
        check_whole("n_masks", n_masks, 1, 254)
        check_whole("patch", patch, 1)
        self.n_masks, self.patch = n_masks, patch

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their shape and device matter.
            generator: a CPU generator, so that masks do not depend on the device.

        Raises:
            UserError: a patch that does not divide the image.
        """
        grid = cells_of(images, self.patch)

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.rand((n, self.n_masks, 1 + TARGETS, 4), generator=source)

        draws = drawn_per_image(draw, len(images), generator, images.device)
        seen = block(draws[:, :, 0], grid, CONTEXT_SCALE, CONTEXT_ASPECT)  # [B, N, R, C]
        for k in range(TARGETS):
            left = seen & ~block(draws[:, :, 1 + k], grid, TARGET_SCALE, TARGET_ASPECT)
            enough = left.sum((2, 3), keepdim=True) > KEPT
            seen = torch.where(enough, left, seen)
        return to_pixels(~seen, images)


def block(
    draws: Tensor, grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]
) -> Tensor:
    """Return rectangles on a grid of cells, bool `[..., R, C]`.

    Args:
        draws: `[..., 4]`, uniform in [0, 1): area, aspect ratio, row and column.
        grid: R and C.
        scale: range of the area, a share of the grid.
        aspect: range of height / width.
    """
    rows, columns = grid
    area, skew, top, left = draws[..., None, None, :].unbind(-1)  # [..., 1, 1]
    area = ((scale[0] + area * (scale[1] - scale[0])) * rows * columns).floor()
    skew = aspect[0] + skew * (aspect[1] - aspect[0])
    height = (area * skew).sqrt().round().clamp(1, max(1, rows - 1))
    width = (area / skew).sqrt().round().clamp(1, max(1, columns - 1))
    y0 = (top * (rows - height + 1)).floor()
    x0 = (left * (columns - width + 1)).floor()
    y = torch.arange(rows, device=draws.device)[:, None]
    x = torch.arange(columns, device=draws.device)
    return (y >= y0) & (y < y0 + height) & (x >= x0) & (x < x0 + width)


@MASKERS.register("multi-block", RandomSettings)
def _multi_block(settings: RandomSettings, image_size: int) -> MultiBlockMasker:
    cells_of(torch.empty(0, 3, image_size, image_size), settings.patch)
    return MultiBlockMasker(settings.n_masks, settings.patch)
