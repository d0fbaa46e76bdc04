"""A step that orders its passes as ADIOS's public code does: 4N + 2 encoder passes.

Our own transcription of that order, for comparison only. The anchor is encoded again beside every
mask, for both players; all graphs of a player are alive at once; two more passes feed the online
linear classifier; the mask network runs twice, the first time with a graph that is thrown away.
Networks, views, losses, optimisers and memory layout are ours, so that the order alone is compared.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from seamask.masks import all_penalties
from seamask.networks.small_maps import convolve_small_maps
from seamask.training.workload import Workload

CLASSES = 100


class AdiosOrder:
    """Takes such steps with the networks of a workload of its own.

    Args:
        work: the workload.
        plain: undo what makes our convolutions faster on a CPU.
    """

    def __init__(self, work: Workload, plain: bool = False) -> None:
        self.work = work
        if plain:
            convolve_small_maps(work.encoder)
        device = work.device
        with torch.no_grad(), work.players.autocast():
            width = work.encoder.backbone(work.pair[0].images[:2]).shape[1]
        self.classifier = nn.Linear(width, CLASSES).to(device)
        self.optimizer = torch.optim.SGD(self.classifier.parameters(), lr=0.1)
        self.labels = torch.randint(CLASSES, (len(work.images),)).to(device)

    def step(self) -> None:
        players = self.work.players
        a, b = (view.images for view in self.work.make_views())

        # The encoder and the classifier.
        players.encoder_optimizer.zero_grad(set_to_none=True)
        self.optimizer.zero_grad(set_to_none=True)
        with players.autocast():
            features = [players.encoder.backbone(x) for x in (a, b)]
            logits = [self.classifier(f.detach()) for f in features]
        online = sum(cross_entropy(z.float(), self.labels) for z in logits) / 2
        with players.autocast():
            masks = players.masker(b)
        (self._loss(a, b, masks.detach()) + online).backward()
        players.encoder_optimizer.step()
        self.optimizer.step()

        # The mask network; Lightning switches the gradients of the others off meanwhile.
        players.masker_optimizer.zero_grad(set_to_none=True)
        players.encoder.requires_grad_(False)
        with players.autocast():
            masks = players.masker(b)
        penalties = all_penalties([(masks, 0.25)])
        price = sum(w * penalties[name] for name, w in players.penalty_weights.items())
        (price - self._loss(a, b, masks)).backward()
        players.masker_optimizer.step()
        players.encoder.requires_grad_(True)

    def _loss(self, a, b, masks):
        players = self.work.players
        total = 0.0
        for mask in masks.split(1, dim=1):
            with players.autocast():
                z_a, z_m = players.encoder(a), players.encoder(b * (1 - mask))
            total = total + players.objective(z_a, z_m)
        return total / masks.shape[1]
