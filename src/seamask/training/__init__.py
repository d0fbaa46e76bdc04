"""Pretraining: the two-player step, and the loop around it."""

from seamask.game.step import TwoPlayers, View, two_player_step
from seamask.training.launch import Summary, pretrain, resume, start

__all__ = ["Summary", "TwoPlayers", "View", "pretrain", "resume", "start", "two_player_step"]
