"""Pretraining: the two-player step, and the loop around it."""

from seamask.game.step import TwoPlayers, View, two_player_step
from seamask.training.launch import pretrain, resume_run, start_run
from seamask.training.report import Summary
from seamask.training.signals import Stopped

__all__ = [
    "Stopped",
    "Summary",
    "TwoPlayers",
    "View",
    "pretrain",
    "resume_run",
    "start_run",
    "two_player_step",
]
