import http.server
import threading
from functools import partial

import numpy as np
import pytest
from PIL import Image

from seamask.data import DataConfig, load


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


VOID = 255


@pytest.fixture
def write_map():
    """Write a palette PNG as VOC's are: values within a void outline one pixel wide."""

    def _write(path, values, palette=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.array(values, np.uint8)
        inner = values[1:-1, 1:-1]
        edges = (inner != values[:-2, 1:-1]) | (inner != values[1:-1, :-2])
        inner[edges] = VOID
        image = Image.fromarray(values)
        if palette:
            image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
            assert image.mode == "P"
        image.save(path)
        return values

    return _write


@pytest.fixture
def write_voc(write, write_map):
    """Write a folder in Pascal VOC layout; its class maps hold 0 and `values`, its objects 0 to 2.

    Returns {name: (class map, object map)}.
    """

    def _write(root, lists, names=(), values=(1, 2), size=(30, 20), objects=True):
        maps = {}
        for name in dict.fromkeys([*names, *(name for part in lists.values() for name in part)]):
            write(root, f"JPEGImages/{name}.jpg", size=size)
            things = np.zeros(size[::-1], np.uint8)
            things[4:14, 6:14] = 1
            things[8:18, 16:26] = 2
            classes = np.array([0, *values], np.uint8)[things]
            maps[name] = (
                write_map(root / "SegmentationClass" / f"{name}.png", classes),
                write_map(root / "SegmentationObject" / f"{name}.png", things) if objects else None,
            )
        for part, listed in lists.items():
            path = root / "ImageSets" / "Segmentation" / f"{part}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in listed))
        return maps

    return _write


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; below /cut/ the connection breaks off after half of each."""

    def log_message(self, *args):
        pass

    def copyfile(self, source, target):
        content = source.read()
        target.write(content[: len(content) // 2] if "/cut/" in self.path else content)

    def translate_path(self, path):
        return super().translate_path(path.replace("/cut/", "/"))


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """Serve a folder by HTTP on this machine: (folder, address)."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    folder = tmp_path_factory.mktemp("served")
    handler = partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
