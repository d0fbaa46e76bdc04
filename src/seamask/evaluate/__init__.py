"""Evaluation: probes on frozen features, and how well masks follow objects."""

from seamask.evaluate.masks import mean_best_iou, object_scores, predict, score
from seamask.evaluate.probes import knn_accuracy, linear_accuracy, probe

__all__ = [
    "knn_accuracy",
    "linear_accuracy",
    "mean_best_iou",
    "object_scores",
    "predict",
    "probe",
    "score",
]
