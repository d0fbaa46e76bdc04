"""Evaluations: one file each, which names what it needs and what it finds.

Here are those that come with seamask; a plugin adds to `TASKS`.
"""

# They register themselves, in the order of every list of them.
from seamask.evaluate import knn, linear, finetune, segment, masks, cluster  # isort: skip  # noqa: F401
from seamask.evaluate.evaluation import evaluate, task_config
from seamask.evaluate.features import Features
from seamask.evaluate.following import following, mean_best_iou, object_scores, predict, score
from seamask.evaluate.probes import probe
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Result, Task, check

__all__ = [
    "TASKS",
    "Context",
    "EvaluationConfig",
    "Features",
    "Metric",
    "Result",
    "Task",
    "check",
    "evaluate",
    "following",
    "mean_best_iou",
    "object_scores",
    "predict",
    "probe",
    "score",
    "task_config",
]
