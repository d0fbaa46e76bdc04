import numpy as np
import pytest
from PIL import Image

from seamask.config import DataConfig
from seamask.data import load


@pytest.fixture
def write():
    """Write small noise images to these paths below a folder."""

    def _write(root, *paths, size=(20, 16)):
        for path in paths:
            array = np.random.default_rng(list(path.encode())).integers(0, 256, (*size[::-1], 3))
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / path)

    return _write


@pytest.fixture
def open_data(tmp_path):
    """Load a source at 16 pixels with a cache of its own."""

    def _open(source, image_size=16, seed=0, **settings):
        settings.setdefault("cache", str(tmp_path / "cache"))
        return load(DataConfig(source=str(source), **settings), image_size, seed, progress=False)

    return _open
