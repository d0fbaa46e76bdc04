"""Semantic segmentation: a backbone fine-tuned as a fully convolutional network."""

from seamask.evaluate.segment.task import SegmentConfig

__all__ = ["SegmentConfig"]
