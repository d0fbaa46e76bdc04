"""A folder of JPEGs to measure with: smooth random pictures of a photograph's size in bytes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image


def make_jpegs(folder, images, width=400, height=300):
    """Write `images` JPEGs of `width` × `height` pixels, some 30 kB each."""

    def one(i):
        draw = np.random.default_rng(i)
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8))
        picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = draw.normal(0, 6, picture.shape)
        Image.fromarray((picture + grain).clip(0, 255).astype(np.uint8)).save(
            folder / f"{i:06d}.jpg", quality=85
        )

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(images)))
