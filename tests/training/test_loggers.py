"""The log of a run in the real Weights & Biases and MLflow, without a network."""

import struct
import sys

import pytest
from runs import config_of, lines_of, signal_after

import seamask
from seamask.base.errors import UserError
from seamask.training import Stopped, resume_run, start_run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_run_that_goes_on_is_one_run_in_wandb_and_mlflow(tiny, tmp_path, monkeypatch):
    wandb, mlflow = pytest.importorskip("wandb"), pytest.importorskip("mlflow")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        signal_after(patch, 2)
        with pytest.raises(Stopped):
            start_run(config_of(tiny, out, **{"log.wandb": True, "log.mlflow": True}))
    resume_run(out)
    wandb.teardown()
    losses = {e["step"]: e["loss/encoder"] for e in lines_of(out) if "loss/encoder" in e}
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]

    client = mlflow.MlflowClient(f"sqlite:///{out}/mlflow/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "seamask")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["masks.n_masks"] == "3"
    found = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "loss/encoder")}
    assert found == pytest.approx(losses)

    files = list((out / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # of two processes, to be joined
    assert len({file.name for file in files}) == 1
    seen = {}
    for file in files:
        for data in records(file.read_bytes()):
            items = {
                (*item.nested_key, item.key)[0]: item.value_json
                for item in Record.FromString(data).history.item
            }
            if "loss/encoder" in items:
                seen[int(items["_step"])] = float(items["loss/encoder"])
    assert seen == pytest.approx(losses)


def records(log: bytes):
    """Yield the records of a log as LevelDB writes it, after a header of seven bytes."""
    at, whole = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:  # no header begins at the end of a block
            at += 32768 - at % 32768
        _, length, kind = struct.unpack_from("<IHB", log, at)
        whole += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_named(tiny, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    with pytest.raises(UserError, match=f"--log.{name} needs `pip install {name}`"):
        seamask.pretrain(out=tmp_path / "run", **tiny, **{f"log.{name}": True})
