import pytest

import seamask


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, cache):
    """A finished run of 2 epochs of 3 steps, and its settings."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    tiny = {
        "data.cache": str(cache), "data.shapes_train": 48, "data.shapes_test": 32,
        "image_size": 32, "batch_size": 16, "epochs": 2, "masks.width": 4,
        "objective.hidden": (16,), "objective.out_dim": 8, "optim.warmup_epochs": 1,
        "log.every": 1, "device": "cpu", "threads": 1,
        "log.keep_checkpoints": 9, "log.masks_every": 1, "log.probe_every": 1,
    }  # fmt: skip
    return out, tiny, seamask.pretrain(out=out, **tiny)
