"""Evaluation: frozen features, trained classifiers, segmentation, and masks against objects."""

from seamask.evaluate.evaluation import TASKS, Result, evaluate
from seamask.evaluate.masks import following, mean_best_iou, object_scores, predict, score
from seamask.evaluate.probes import Features, knn_accuracy, linear_accuracy, probe

__all__ = [
    "TASKS",
    "Features",
    "Result",
    "evaluate",
    "following",
    "knn_accuracy",
    "linear_accuracy",
    "mean_best_iou",
    "object_scores",
    "predict",
    "probe",
    "score",
]
