"""A data set for segmentation that takes no time."""

import numpy as np
import torch
from torch.utils.data import Dataset

from seamask.data import Normalization
from seamask.data.segmentation import Segmentation
from seamask.evaluate.segment import SegmentConfig

SMALL = SegmentConfig(
    image_size=32, epochs=2, batch_size=4, lr=0.05, warmup_epochs=0, scale=(0.8, 1.25)
)


class Squares(Dataset):
    """Images of varying sizes: left half dark (0), right half bright (1), a bright top row void."""

    def __init__(self, n, seed):
        self.n, self.seed = n, seed

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        draw = np.random.default_rng((self.seed, index))
        height, width = draw.integers(30, 60, 2)
        classes = np.zeros((height, width), np.uint8)
        classes[:, draw.integers(width // 4, 3 * width // 4) :] = 1
        grey = 60 + 130 * classes + draw.integers(0, 40, (3, height, width))
        classes[:2] = 255
        return torch.from_numpy(grey.astype(np.uint8)), torch.from_numpy(classes)


def squares(n_train=16, n_test=6):
    half = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    train, test = Squares(n_train, 0), Squares(n_test, 1)
    return Segmentation("squares", train, test, ("dark", "bright", "none"), half, "")
