"""Settings of the data: those of any source, and those that a source brings along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import MOST_PIXELS, Within, short, written
from seamask.data.normalize import Normalize
from seamask.data.sets.shapes import ShapesSettings


@dataclass(frozen=True)
class AnyData:
    """Settings of any source."""

    source: Annotated[str, short("data")] = "shapes"
    """`shapes` (built in), `cifar10`, `cifar100`, `stl10`, `imagenet100s`, `inat21`, `inat21-mini`,
    `voc2012`, `voc2007-trainval`, `voc2012-trainval` (with boxes), `ecssd`, `duts-te`, `dut-omron`,
    or the path of a folder of images: any nesting, sizes and modes mixed, no labels needed; or in
    Pascal VOC layout; or of an archive or a list of images, or a folder of archives (zip, tar,
    `shards-{000..099}.tar`, parquet, csv, txt)."""
    root: str = "data"
    """Folder that holds the named data sets; they are downloaded to it where there is a network
    (`ecssd`, `duts-te` and `dut-omron` are to be unpacked there). `imagenet100s`, with
    `train/<class>/` and `val/<class>/`, is the folder itself or the one of that name in it."""
    objects: str = ""
    """Folder of label images of the training images, for `--masker given`: of `a/1.jpg` the
    palette or grey PNG `a/1.png`, of an image in Pascal VOC layout that of its name (so its
    `SegmentationObject`). 0 background, k = object k, 255 = void; each of its image's size, upright
    (a camera's note on how it was held turns the image, not the map)."""
    size: Annotated[int, Within(0, MOST_PIXELS)] = 0
    """Side in pixels at which images are stored (shorter side resized, centre cropped);
    0 means the image size."""
    channels: Literal[1, 3] = 3
    """1: grey. Colours become their luma, and store, views, encoder and masker have one channel.
    Evaluations take as many as the encoder has."""
    limit: Annotated[int, Within(0)] = 0
    """Use only this many training images, a random choice that depends on the seed; 0 means all."""
    holdout: Annotated[float, Within(0, 1)] = 0.1
    """Share of each class of a labelled folder that is held out for probes where it has no `val` or
    `test` folder."""
    split: Literal["auto", "val", "test"] = "auto"
    """Which folder of images is held out, where `val` and `test` (or others of such names) lie
    beside `train`; `auto`: `val` where it has classes, else `test`."""
    normalize: Annotated[Normalize, written(Normalize)] = Normalize()
    """What images are normalised by, and so what colour a removed pixel has: `own`, mean and
    standard deviation of the training images (all of them, whatever `limit` says); `imagenet`; or
    `MEAN/STD`, three numbers each, `0.5,0.4,0.4/0.2,0.2,0.3`. `auto`: `own` for folders, archives
    and grey images (`--data.channels 1`); for data sets with a name theirs, mostly ImageNet's."""
    jpeg: Literal["fast", "exact"] = "fast"
    """`fast`: large JPEGs are decoded at a fraction of their size, several times faster; pixels
    differ from those of `exact` by 2 to 4 of 255 on average."""
    on_bad_image: Annotated[Literal["skip", "stop"], short("on_bad_image")] = "skip"
    """An unreadable image is named and skipped, or stops the run."""
    max_megapixels: Annotated[float, Within(0, above=True)] = 179.0
    """Images of more million pixels are not read. The default is Pillow's: few photographs have so
    many, and a small file can claim any number. Reading takes 5 to 20 bytes a pixel."""
    cache: str = "~/.cache/seamask"
    """Where decoded images are kept (one packed uint8 file per data set and size)."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Hold the packed images wholly on the device; `auto`: if they fit in half its free memory."""


@dataclass(frozen=True)
class DataConfig(ShapesSettings, AnyData):
    """Where the images come from."""
