import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Two busy suites on two cores are far slower with two threads each than with one.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A test says the same of the same code, on a busy machine too. To search for what it has not met:
# pytest --hypothesis-profile search
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
# In the background of a shell and under `nohup` these are ignored, in all that a test starts too.
for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), default)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--points", default="1", help="how often tests/faults strike each command, or `all`"
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Have each test draw the same numbers whatever ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where packed images are kept during the tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(cache: Path) -> dict:
    """Settings of a run that takes a second or two."""
    return {
        "data.cache": str(cache),
        "data.shapes_train": 48,
        "data.shapes_test": 32,
        "image_size": 32,
        "batch_size": 16,
        "epochs": 2,
        "masks.width": 4,
        "objective.hidden": (16,),
        "objective.out_dim": 8,
        "optim.warmup_epochs": 1,
        "log.every": 1,
        "device": "cpu",
        "threads": 1,
    }
