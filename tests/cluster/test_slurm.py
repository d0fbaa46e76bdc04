"""Jobs of a real Slurm of two nodes."""

import re
import subprocess
from pathlib import Path

import pytest
from jobs import plugin, pretrain, shell, steps, wait_for

from command import call
from training.runs import assert_same_weights, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.ddp, pytest.mark.slurm]

HEAD = """#!/bin/bash
#SBATCH --nodes=2 --ntasks=2 --ntasks-per-node=1 --requeue --open-mode=append
"""


def script(command):
    """Return the script of docs/clusters.md, with the nodes there are and another command."""
    page = Path(__file__).parents[2] / "docs" / "clusters.md"
    (body,) = re.findall(r"^srun .*?^fi$", page.read_text(), re.DOTALL | re.MULTILINE)
    return HEAD + re.sub(r"seamask pretrain .*", lambda _: command, body) + "\n"


def submit(script, output, cluster, *more):
    """Submit a job; return its number."""
    done = subprocess.run(
        ["sbatch", "--parsable", f"--output={output}", *more],
        input=script, env=cluster, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(job, cluster):
    shown = ["scontrol", "show", "job", job]
    text = subprocess.run(shown, env=cluster, capture_output=True, text=True).stdout
    found = re.search(r"JobState=(\w+)", text)
    return found[1] if found else ""  # a controller that is busy does not answer


def over(job, cluster):
    return state(job, cluster) not in ("", "PENDING", "RUNNING", "COMPLETING", "CONFIGURING")


def wait_until_done(job, output, cluster):
    wait_for(lambda: over(job, cluster), output.read_text)
    assert state(job, cluster) == "COMPLETED", output.read_text()


def start_again(job, k, output, cluster):
    """Wait until a job is back in the queue; start it; return after which step it goes on.

    It is the k-th time that this job does.
    """
    wait_for(lambda: state(job, cluster) == "PENDING", output.read_text)
    # By itself it would wait for two minutes. Not now: a node does not start what it was told in
    # the same second to kill ("Job 2 already killed, do not launch batch job").
    soon = ["scontrol", "update", f"jobid={job}", "starttime=now+3"]
    subprocess.run(soon, env=cluster, check=True)

    def begun():
        return list(map(int, re.findall(r"goes on after step (\d+) of", output.read_text())))

    wait_for(lambda: len(begun()) == k or over(job, cluster), output.read_text)
    assert len(begun()) == k, f"job {job} is {state(job, cluster)}: {output.read_text()}"
    return begun()[-1]


def test_a_job_over_both_nodes_equals_one_process_also_when_requeued(cluster, cache, tmp_path):
    left, queued, alone = (tmp_path / name for name in ("left", "queued", "alone"))
    jobs = {}
    for out in (left, queued):
        words = [*pretrain(out, cache), *(plugin(tmp_path, seconds=0.6) if out == queued else [])]
        log = tmp_path / f"{out.name}.txt"
        jobs[out] = submit(script(shell(*words)), log, cluster), log
    job, log = jobs[queued]
    taken = [0]  # steps before each start
    # Requeued from outside, then by itself, when Slurm says that its time will soon be over.
    for k, words in enumerate((["scontrol", "requeue"], ["scancel", "--signal=USR1"]), start=1):
        wait_for(lambda: steps(queued) >= taken[-1] + 3 or over(job, cluster), log.read_text)
        subprocess.run([*words, job], env=cluster, check=True)
        taken.append(start_again(job, k, log, cluster))
    assert call(*pretrain(alone, cache)) == 0
    for job, log in jobs.values():
        wait_until_done(job, log, cluster)
    said = jobs[queued][1].read_text()
    assert said.count("2 processes on 2 nodes, started by srun") == 3
    _, first, second = taken
    assert 3 <= first < second < 24
    assert_same_weights(left, queued)
    # In single precision roundings grow from step to step; other views would be in the first digit.
    for near, ours, theirs in zip((1e-5, 1e-3), lines_of(left), lines_of(alone), strict=False):
        for name in ours.keys() & {"loss/encoder", "loss/mask", "mask/coverage_1"}:
            assert ours[name] == pytest.approx(theirs[name], rel=near), (name, ours["step"])


STUDY = """
title: Two methods
methods: {one: shapes-simclr, two: shapes-sequential}
seeds: 2
baseline: one
settings:
  image_size: 16
  data.shapes_train: 32
  data.shapes_test: 16
  data.cache: CACHE
  batch_size: 16
  epochs: 1
  masks.width: 2
  objective.hidden: [16]
  objective.out_dim: 8
  log.masks_every: 0
  device: cpu
  threads: 1
evaluations:
  kNN: {task: knn}
"""


def test_a_study_as_a_job_array_shares_one_folder(cluster, cache, tmp_path):
    file, out = tmp_path / "two.yaml", tmp_path / "study"
    file.write_text(STUDY.replace("CACHE", str(cache)))
    script = f"#!/bin/bash\n{shell('study', file, '--out', out)}\n"
    log = tmp_path / "array-%a.txt"
    submit(script, log, cluster, "--array=0-3", "--wait", "--oversubscribe")
    said = [path.read_text() for path in tmp_path.glob("array-*.txt")]
    assert len(said) == 4
    begun = [line.split("]")[0] for text in said for line in text.splitlines() if line[:1] == "["]
    assert sorted(begun) == [f"[{k}/8" for k in range(1, 9)], said  # each by one of them
    assert "two" in (out / "table.md").read_text()
