from pathlib import Path

import pytest

from seamask import pretrain


@pytest.fixture(scope="session")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two sequential masks, on 64 scenes of 32 px."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    settings = {
        "data.cache": str(cache),
        "data.shapes_train": 64,
        "data.shapes_test": 32,
        "image_size": 32,
        "batch_size": 16,
        "epochs": 1,
        "n_masks": 2,
        "masks.width": 4,
        "masks.downscale": 1,
        "objective.hidden": (16,),
        "objective.out_dim": 8,
        "device": "cpu",
        "threads": 1,
    }
    pretrain(out=out, **settings)
    return out
