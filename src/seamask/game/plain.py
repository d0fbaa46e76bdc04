"""The two-player step as the paper writes it (Sam et al. 2022, eq. 2), to be read.

    min over I, max over M:   mean_k [ L(x, I, m^k) − penalties(m^k) ]

All graphs live at once and masks are made anew for each player. `seamask.two_player_step` takes the
same step in less time and memory: *fast = plain*, see tests/game/test_step.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seamask.game.held import held_still
from seamask.game.players import TwoPlayers, View
from seamask.masks.masker import masks_of
from seamask.masks.penalties import all_penalties


def plain_step(players: TwoPlayers, a: View, b: View) -> dict[str, Tensor]:
    """Take one step of each player on two views of a batch.

    Args:
        players: networks, optimisers and rules; updated in place. Of the rules, `compare`,
            `one_way`, `of_view`, `single`, `simultaneous`, `drop`, `autocast` and what several
            processes need are left to the fast step.
        a: the anchor.
        b: the view that is masked.

    Returns:
        `loss/encoder` and `loss/mask`, what each player minimised.
    """

    def loss(masks: Tensor) -> Tensor:  # [B, N, H, W], 1 = removed
        anchor = players.encoder(a.images)
        each = [
            players.objective(anchor, players.encoder(b.under(mask).seen()))
            for mask in masks.split(1, dim=1)
        ]
        return torch.stack(each).mean() if players.reduction == "mean" else torch.stack(each).sum()

    # 1. The encoder lowers the loss through the masks as they are.
    players.encoder_optimizer.zero_grad()
    target = players.target(b)  # [B, N]
    shares = target if players.budget.exact else None
    encoder_loss = loss(masks_of(players.masker, b.images, shares=shares).detach())
    encoder_loss.backward()
    players.encoder_optimizer.step()

    # 2. The masker raises it and pays. It asks the encoder just updated, which is held still.
    assert players.masker_optimizer is not None
    players.masker_optimizer.zero_grad()
    masks = masks_of(players.masker, b.images, shares=shares)
    penalties = all_penalties([(masks, target)])
    price = sum(weight * penalties[name] for name, weight in players.penalty_weights.items())
    with held_still(players.encoder):
        mask_loss = price - players.role.at(players.done) * loss(masks)
        mask_loss.backward()
    players.masker_optimizer.step()
    return {"loss/encoder": encoder_loss.detach(), "loss/mask": mask_loss.detach()}
