"""CIFAR-10, CIFAR-100 and STL-10, read and downloaded by torchvision, which checks every byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seamask.base.paths import local
from seamask.data.normalize import Normalization
from seamask.data.registry import SOURCES, Source
from seamask.data.sets.download import Archive, read_or_download
from seamask.data.store.chunks import array_chunks
from seamask.data.store.plan import Chunk, Plan, Split

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig


@dataclass(frozen=True)
class TorchvisionSet:
    """One of torchvision's data sets.

    Attributes:
        kind: name of its class in `torchvision.datasets`.
        images: to train on.
    """

    name: str
    kind: str
    images: int
    normalization: Normalization

    def __call__(self, config: DataConfig, size: int, seed: int) -> Source:
        """Return the source; `seed` changes nothing."""
        root = local(config.root, "--data.root")
        return Source(
            self.name, self.identity, partial(self.plan, root, size), self.normalization,
            self.images,
        )  # fmt: skip

    def identity(self) -> str:
        """Return the checksums that its files must have."""
        kind = self._class()
        return repr((kind.train_list, kind.test_list))

    def plan(self, root: Path, size: int) -> Plan:
        """Read the data set from `root`, downloading it to there if need be.

        Raises:
            UserError: it is not there and cannot be downloaded.
        """
        if self.name == "stl10":
            return self._plan_stl10(root, size)
        return self._plan_cifar(root, size)

    def _class(self) -> Any:
        import torchvision.datasets  # slow to import: not before it is needed

        return getattr(torchvision.datasets, self.kind)

    def _open(self, root: Path, **options: Any) -> Any:
        kind = self._class()
        archive = Archive(kind.filename, kind.url)
        return read_or_download(
            self.name, root, archive, lambda download: kind(root, download=download, **options)
        )

    def _plan_cifar(self, root: Path, size: int) -> Plan:
        parts = {"train": self._open(root, train=True), "test": self._open(root, train=False)}
        classes = tuple(parts["train"].classes)
        splits = {
            name: _split([part.data], np.asarray(part.targets, np.int64), size)
            for name, part in parts.items()
        }
        return Plan(splits, classes)

    def _plan_stl10(self, root: Path, size: int) -> Plan:
        train, rest, test = (self._open(root, split=s) for s in ("train", "unlabeled", "test"))
        images = [part.data.transpose(0, 2, 3, 1) for part in (train, rest, test)]
        # torchvision's "train+unlabeled", without joining the arrays: that would copy 3 GB
        labels = np.concatenate([train.labels, np.full(len(images[1]), -1)]).astype(np.int64)
        splits = {
            "train": _split(images[:2], labels, size),
            "test": _split(images[2:], test.labels.astype(np.int64), size),
        }
        return Plan(splits, tuple(train.classes))


def _split(images: list[npt.NDArray[np.uint8]], labels: npt.NDArray[np.int64], size: int) -> Split:
    def chunks() -> Iterator[Chunk]:
        start = 0
        for part in images:
            yield from array_chunks(part, labels[start : start + len(part)], size)
            start += len(part)

    return Split(len(labels), chunks, labelled=True)


for _known in (
    TorchvisionSet(
        "cifar10", "CIFAR10", 50_000,
        Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ),
    TorchvisionSet(
        "cifar100", "CIFAR100", 50_000,
        Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ),
    TorchvisionSet(
        "stl10", "STL10", 105_000,
        Normalization((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    ),
):  # fmt: skip
    SOURCES.register(_known.name)(_known)
