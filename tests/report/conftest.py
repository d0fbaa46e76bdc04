import pytest

import seamask


@pytest.fixture(scope="session")
def runs(tmp_path_factory, cache):
    """Two finished runs of two epochs on the same images: learned masks, and random blocks."""
    tiny = {
        "data.cache": str(cache), "data.shapes_train": 48, "data.shapes_test": 32,
        "image_size": 32, "batch_size": 16, "epochs": 2, "masks.width": 4,
        "objective.hidden": (16,), "objective.out_dim": 8, "optim.warmup_epochs": 1,
        "log.every": 1, "device": "cpu", "threads": 1, "log.masks_every": 0,
    }  # fmt: skip
    root = tmp_path_factory.mktemp("reported")
    found = {"learned": root / "learned", "random": root / "random"}
    seamask.pretrain(out=found["learned"], **tiny)
    seamask.pretrain(out=found["random"], **tiny, masker="random-block")
    return found
