"""What a run logs beside its metrics: TensorBoard, and how long it will take."""

import pytest
from runs import config_of, lines_of

import seamask
from seamask.base.progress import few
from seamask.training import start_run


def test_tensorboard(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seamask.pretrain(out=tmp_path / "run", **{**tiny, "epochs": 1, "log.tensorboard": True})
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert len(events.Scalars("loss/encoder")) == 3


def test_a_run_soon_says_how_long_it_will_take(tiny, tmp_path, capfd):
    start_run(config_of(tiny, tmp_path / "run", **{"log.every": 1, "epochs": 2}))
    said = [line for line in capfd.readouterr().err.splitlines() if "seamask bench" in line]
    (line,) = said  # once, not at every line of the log
    logged = [found for found in lines_of(tmp_path / "run") if "lr/mask" in found][1]
    rate, wait = logged["images_per_second"], logged["data_wait"]
    assert line.startswith(f"{few(rate)} images/s, {wait:.1%} of the time waiting for data")
    assert "to the end of epoch 2, probes and figures not counted" in line
