"""iNaturalist 2021 with the 11 supercategories as labels, listed and downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seamask.base.errors import printable
from seamask.base.paths import local
from seamask.data.registry import SOURCES, About, Source
from seamask.data.sets.download import Archive, read_or_download
from seamask.data.store.chunks import Reading, file_split
from seamask.data.store.plan import Plan, Split

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig

# Source of names, order and counts: the table in github.com/visipedia/inat_comp, 2021/README.md.
CLASSES = (
    "Plants", "Insects", "Birds", "Fungi", "Reptiles", "Mammals", "Ray-finned Fishes",
    "Amphibians", "Mollusks", "Arachnids", "Animalia",
)  # fmt: skip
COUNTS = {"2021_train": 2_686_843, "2021_train_mini": 500_000, "2021_valid": 100_000}
TRAIN = {"inat21": "2021_train", "inat21-mini": "2021_train_mini"}
TEST = "2021_valid"

# torchvision gives supercategories of the earlier years only; these taxa are those of 2021.
_TAXA = {
    "Plantae": "Plants", "Fungi": "Fungi", "Mollusca": "Mollusks", "Insecta": "Insects",
    "Aves": "Birds", "Reptilia": "Reptiles", "Mammalia": "Mammals", "Amphibia": "Amphibians",
    "Actinopterygii": "Ray-finned Fishes", "Arachnida": "Arachnids",
}  # fmt: skip


def supercategory(category: str) -> str:
    """Return the supercategory of a category's folder, e.g. `00000_Animalia_Annelida_…`: Animalia.

    The folder's name is number, kingdom, phylum, class, order, family, genus, species.
    """
    taxa = category.split("_")[1:4]
    return next((_TAXA[taxon] for taxon in taxa if taxon in _TAXA), "Animalia")


def inaturalist(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source `inat21` or `inat21-mini`; `seed` changes nothing.

    `config.root` holds `2021_train/` or `2021_train_mini/`, and `2021_valid/`.
    """
    name, root = config.source, local(config.root, "--data.root")
    reading = Reading(config.on_bad_image == "stop", config.jpeg == "exact")
    versions = {"train": TRAIN[name], "test": TEST}

    def identity() -> str:
        from torchvision.datasets.inaturalist import DATASET_MD5  # slow to import

        return " ".join(DATASET_MD5[version] for version in versions.values())

    def plan() -> Plan:
        splits = {
            split: _split(name, root, version, size, reading) for split, version in versions.items()
        }
        return Plan(splits, CLASSES)

    return Source(
        name, identity, plan, images=COUNTS[TRAIN[name]], about=lambda: About("2021_valid")
    )


for _name in TRAIN:
    SOURCES.register(_name)(inaturalist)


def _split(name: str, root: Path, version: str, size: int, reading: Reading) -> Split:
    import torchvision.datasets
    from torchvision.datasets.inaturalist import DATASET_URLS

    def read(download: bool) -> Any:
        found = torchvision.datasets.INaturalist(root, version, download=download)
        if len(found) < COUNTS[version]:
            here = printable(root / version)
            raise RuntimeError(f"{here} holds {len(found):,} of {COUNTS[version]:,} images")
        return found

    found = read_or_download(name, root, Archive(f"{version}.tgz", DATASET_URLS[version]), read)
    labels = [CLASSES.index(supercategory(category)) for category in found.all_categories]
    index = sorted(found.index)  # torchvision takes files in the order of the disk
    paths = [f"{found.all_categories[category]}/{file}" for category, file in index]
    numbers = np.array([labels[category] for category, _ in index], np.int64)
    return file_split(root / version, paths, numbers, size, reading)
