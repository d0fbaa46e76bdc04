"""ColorMAE (Hinojosa et al., ECCV 2024): masks from filtered noise, the control for learned ones.

Nothing is learned and no image is looked at, and yet masks are neither single cells nor boxes.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn_per_image
from seamask.base.errors import check_choice
from seamask.masks.cells import cells_of, strongest, to_pixels
from seamask.masks.masker import MASKERS, check_drawn
from seamask.masks.settings import NoiseSettings

Colour = Literal["red", "blue", "green", "purple"]
# Widths of the weak and the strong blur, in cells. Ours: its authors publish patterns, no filters.
WEAK, STRONG = 1.0, 2.0
MARGIN = 8  # cells that are filtered and cut off all round, as the paper crops larger patterns


class ColourNoiseMasker(nn.Module):
    """Remove the cells in which white noise W, filtered to a band, is weakest.

    `red` G_s ∗ W, `blue` W − G_w ∗ W, `green` G_w ∗ W − G_s ∗ W, `purple` W − (G_w − G_s) ∗ W, with
    Gaussians G of a weak and a strong blur (section 3 of the paper: low-pass, high-pass, band-pass,
    band-stop). The strongest cells stay, as in its code, and each mask removes just its share.

    Args:
        n_masks: N, masks per image, drawn independently.
        ratio: share of the cells to remove, in [0, 1]; rounded to a whole number of cells.
        patch: side of a cell in pixels, which must divide the image's sides; 1: pixels.
        colour: the band that is left.
    """

    learned = False

    def __init__(
        self, n_masks: int = 1, ratio: float = 0.25, patch: int = 8, colour: Colour = "green"
    ) -> None:
        super().__init__()
        check_drawn(n_masks, ratio, patch)
        check_choice("colour", colour, get_args(Colour))
        self.n_masks, self.ratio, self.patch = n_masks, ratio, patch
        self.colour: Colour = colour

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their shape and device matter.
            generator: a CPU generator, so that masks do not depend on the device.

        Raises:
            UserError: a patch that does not divide the image.
        """
        rows, columns = cells_of(images, self.patch)
        shape = self.n_masks, rows + 2 * MARGIN, columns + 2 * MARGIN

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.randn((n, *shape), generator=source)

        white = drawn_per_image(draw, len(images), generator, images.device)
        noise = coloured_noise(white, self.colour)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        return to_pixels(strongest(-noise, self.ratio), images)


def coloured_noise(white: Tensor, colour: Colour) -> Tensor:
    """Return white noise `[..., R, C]` filtered to the band of a colour, as if it were periodic."""
    height, width = white.shape[-2:]
    y = torch.fft.fftfreq(height, dtype=white.dtype, device=white.device)[:, None]
    x = torch.fft.rfftfreq(width, dtype=white.dtype, device=white.device)
    square = y.square() + x.square()  # cycles a cell

    def blur(sigma: float) -> Tensor:
        return torch.exp(-2 * math.pi**2 * sigma**2 * square)  # of a Gaussian, at each frequency

    band = blur(WEAK) - blur(STRONG)
    gain = {"red": blur(STRONG), "blue": 1 - blur(WEAK), "green": band, "purple": 1 - band}[colour]
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(height, width))
    return noise


@MASKERS.register("colour-noise", NoiseSettings)
def _colour_noise(settings: NoiseSettings, image_size: int) -> ColourNoiseMasker:
    cells_of(torch.empty(0, 3, image_size, image_size), settings.patch)
    return ColourNoiseMasker(settings.n_masks, settings.ratio, settings.patch, settings.noise)
