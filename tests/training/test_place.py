"""Who the processes are, by the variables of what started them."""

import pytest

from seamask.base.errors import UserError
from seamask.training.cluster import Place, first_host, started_by

TORCHRUN = {
    "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train.sh", "SLURM_NTASKS": "4", "SLURM_NNODES": "2",
       "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}  # fmt: skip
STEP = {**JOB, "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "1",
        "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "localhost,other"}  # fmt: skip


def test_torchrun_comes_first():
    assert started_by(STEP | TORCHRUN) == Place(
        "torchrun", 3, 4, 1, 2, 2, "10.0.0.1", 29500, attempt=1, served=True
    )


def test_a_pod_of_kubernetes_has_one_process():
    pod = {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    assert started_by(pod) == Place("torchrun", 3, 4, 0, 1, 4, "10.0.0.1", 29500)


def test_srun_is_asked_for_rank_and_address():
    assert started_by(STEP) == Place("srun", 2, 4, 0, 2, 2, "localhost", 15_000 + 7 * 17 + 1)
    assert started_by(STEP | {"MASTER_ADDR": "ib0", "MASTER_PORT": "7"}).address == "ib0"


def test_nodes_may_have_different_numbers_of_processes():
    torchrun = TORCHRUN | {"WORLD_SIZE": "5", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "3"}
    assert (started_by(torchrun).local_size, started_by(torchrun).nodes) == (1, 3)
    srun = STEP | {"SLURM_STEP_NUM_TASKS": "9", "SLURM_STEP_NUM_NODES": "4",
                   "SLURM_STEP_TASKS_PER_NODE": "3(x2),2,1"}  # fmt: skip
    found = [started_by(srun | {"SLURM_NODEID": str(node)}).local_size for node in range(4)]
    assert found == [3, 3, 2, 1]


@pytest.mark.parametrize("environ", [
    {}, JOB, {"MASTER_ADDR": "left.over"}, {"WORLD_SIZE": "many"}, {"RANK": "x", "MASTER_PORT": ""},
    {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
    {"SLURM_NTASKS": "", "SLURM_PROCID": "none"}, {"LOCAL_RANK": "1", "SLURM_STEP_NUM_TASKS": "2"},
    {"RANK": "0", "WORLD_SIZE": "2"},
], ids=str)  # fmt: skip
def test_everywhere_else_there_is_one(environ):
    assert started_by(environ).world_size == 1


def test_what_looks_like_several_and_is_not_is_said():
    assert "MASTER_ADDR and MASTER_PORT not" in str(started_by({"RANK": "0", "WORLD_SIZE": "2"}))
    assert "srun would start as many" in str(started_by(JOB))


@pytest.mark.parametrize("changed", [{"RANK": "4"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}], ids=str)
def test_variables_of_torchrun_that_cannot_be_right_are_named(changed):
    ((name, value),) = changed.items()
    with pytest.raises(UserError, match=rf"{name} is '?{value}"):
        started_by(TORCHRUN | changed)


@pytest.mark.parametrize(("nodes", "first"), [
    ("n1", "n1"), ("n[1-2]", "n1"), ("n1,n2", "n1"), ("gpu[007-9,12]-ib,b", "gpu007-ib"),
    ("r[2,4]c[05-9]", "r2c05"), ("a-1.site,b", "a-1.site"),
])  # fmt: skip
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert first_host(nodes) == first
