"""Is the game healthy? What is measured beside the losses, and what is said when it goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seamask.base.errors import UserError
from seamask.base.precision import in_float64
from seamask.config import Config
from seamask.game.held import held_still
from seamask.game.players import TwoPlayers, View
from seamask.masks import NoMasker
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.networks.view_batchnorm import MaskedImages, encode_views
from seamask.objectives import Objective
from seamask.report.troubles import troubles

if TYPE_CHECKING:
    from seamask.training.run import Run

IMAGES = 32  # whose losses are compared: two clean views and each mask
SAMPLE = 64  # images whose Gram matrices are looked at: no rank is above SAMPLE − 1
PATIENCE = 3  # lines of the log in a row that must show the same trouble
EASING = 0.98  # a trouble that falls below this share of what it was is easing


class Health:
    """Looks at the players of a run, at steps that are logged, and says what goes wrong, once.

    Args:
        config: of the run.
        players: of the run; what the encoder returns of each anchor is overheard.
        objective: of the run.
    """

    def __init__(self, config: Config, players: TwoPlayers, objective: Objective) -> None:
        self.config, self.players, self.objective = config, players, objective
        self.masked = not isinstance(players.masker, NoMasker)
        self.anchor: Tensor | None = None  # [B, ...], what the encoder returned last
        self.said: dict[str, str] = {}  # what was warned of, by kind
        self.seen: Counter[str] = Counter()  # lines in a row that show a trouble
        self.away: Counter[str] = Counter()  # lines in a row since what was said was last seen
        self.before: dict[str, float] = {}  # how bad each was in the line before
        remember = players.remember

        def overhear(anchor: Tensor) -> None:
            self.anchor = anchor
            remember(anchor)

        players.remember = overhear

    @torch.no_grad()
    def examine(self, a: View, b: View, generator: Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Look at a batch after its step; nothing is trained, moved or waited for.

        Embeddings are those of the anchor that the step encoded last: of its last part.

        Args:
            a: a view of the batch.
            b: the view that is masked.
            generator: for masks that are drawn.

        Returns:
            Scalars by name: those of `embedding_signs`, `embedding/alignment` and `loss/clean` (of
            the clean pair, on up to 32 images), and with masks `mask/<sign>_<k>` (see `mask_signs`)
            and `mask/adds_<k>`: the loss of mask k over that of the clean pair. And the Gram
            matrices of the embeddings and of each mask, `[1 + N or 1, b, b]`, for `ranks`.
        """
        assert self.anchor is not None
        z = self.objective.embedding(self.anchor).float()
        grams = (z[:SAMPLE] @ z[:SAMPLE].T)[None]
        found = embedding_signs(z)
        few_a, few_b = a.images[:IMAGES], b.images[:IMAGES]
        masks = None
        with held_still(self.players.encoder), held_still(self.players.masker):
            if self.masked:
                masks = self.players.masks_of(b, a, self.players.target(b), generator)
            given = [] if masks is None else masks[:IMAGES].split(1, dim=1)
            seen = [MaskedImages(few_a), *(MaskedImages(few_b, mask) for mask in (None, *given))]
            with self.players.autocast():
                z_a, z_b, *z_masked = encode_views(self.players.encoder, seen, self.players.stack)
        found["embedding/alignment"] = alignment(*map(self.objective.embedding, (z_a, z_b)))
        whole = few_b.new_ones(len(few_b), 1, *few_b.shape[2:])  # alone, all pixels count
        found["loss/clean"] = clean = self.players.loss_of(z_a, z_b, few_b, whole)
        if masks is None:
            return found, grams
        signs = mask_signs(masks)
        under = [
            self.players.loss_of(z_a, z, few_b, m) for z, m in zip(z_masked, given, strict=True)
        ]
        signs["adds"] = torch.stack(under) - clean
        for name, values in signs.items():
            found |= {f"mask/{name}_{k}": value for k, value in enumerate(values, start=1)}
        return found, torch.cat([grams, mask_grams(masks[:SAMPLE])])

    def warn(self, line: Mapping[str, float]) -> list[str]:
        """Return what has to be said after a line of the log: each kind of trouble when it comes.

        A trouble must have been there for several lines in a row, without easing: masks take a
        while to come down to their budget.

        Args:
            line: metrics by name, of `examine` and `ranks`.
        """
        present = troubles(line, self.config, bool(self.players.masker.learned))
        stays = [k for k, trouble in present.items() if trouble.size >= self.before.get(k, 0.0)]
        self.seen = Counter({kind: self.seen[kind] + 1 for kind in stays})
        self.before = {kind: EASING * trouble.size for kind, trouble in present.items()}
        self.away = Counter({k: self.away[k] + 1 for k in self.said if k not in present})
        for kind in [kind for kind, lines in self.away.items() if lines >= PATIENCE]:
            del self.said[kind]  # it went away: should it come back, that is news
        new = {
            kind: present[kind].text
            for kind in stays
            if self.seen[kind] >= PATIENCE and kind not in self.said
        }
        self.said |= new
        return list(new.values())


class Finiteness:
    """Stops a run whose losses or weights are not finite; all of its processes, or none.

    Args:
        run: that trains.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.bad_step = torch.zeros((), dtype=torch.int64, device=run.processes.device)  # 0: none

    def watch(self, metrics: Mapping[str, Tensor]) -> None:
        """Remember the first step whose loss is not finite, without waiting for the device.

        Args:
            metrics: of the step that was just taken.
        """
        losses = [value for name, value in metrics.items() if name.startswith("loss/")]
        bad = ~torch.isfinite(torch.stack(losses)).all() & (self.bad_step == 0)
        self.bad_step = torch.where(bad, self.run.step, self.bad_step)

    def check_losses(self) -> None:
        """Refuse to go on after a loss that was not finite.

        Raises:
            UserError: with the step, what is kept, and what to try.
        """
        step = int(self.run.processes.largest(self.bad_step.float()))
        if step > 0:
            raise self._error(f"the loss is not finite at step {step}")

    def check_weights(self) -> None:
        """Refuse weights that are not finite.

        Raises:
            UserError: with the step, what is kept, and what to try.
        """
        networks = nn.ModuleList([self.run.networks.encoder, self.run.networks.masker])
        if not all(bool(torch.isfinite(p).all()) for p in networks.parameters()):
            raise self._error(f"the weights are not finite after step {self.run.step}")

    def _error(self, what: str) -> UserError:
        last = self.run.folder.latest_checkpoint()
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        return UserError(
            f"{what} (epoch {self.run.epoch}): training stopped; {kept}; "
            "try a lower --optim.encoder.lr or --optim.masker.lr"
        )


def ranks(grams: Tensor) -> dict[str, float]:
    """Return `embedding/rank` (RankMe) and `mask/rank_<k>` from Gram matrices on the CPU.

    Of a game that has diverged there are none: its loss is about to say so.
    """
    if not grams.isfinite().all():
        return {}
    found = {"embedding/rank": rank_me(grams[0])}
    for k, rank in enumerate(effective_rank(grams[1:]).tolist(), start=1):
        found[f"mask/rank_{k}"] = rank
    return found


def embedding_signs(z: Tensor) -> dict[str, Tensor]:
    """Return what can be said of embeddings without labels, without waiting for the device.

    Args:
        z: `[B, D]`, B at least 2.

    Returns:
        - `embedding/spread`: standard deviation of the L2-normalised embeddings over the batch,
          mean over dimensions, times √D: about 1 when healthy, 0 when collapsed (Chen & He 2021);
        - `embedding/uniformity`: `log mean exp(−2 ‖z_i − z_j‖²)` over pairs, at most 0, low when
          they are spread out (Wang & Isola 2020).
    """
    unit = F.normalize(z.float(), dim=1)
    batch, width = unit.shape
    distance = (2 - 2 * unit @ unit.T).clamp(min=0)  # [B, B], squared
    energy = torch.exp(-2 * distance).sum() - batch  # without the pairs of one image with itself
    return {
        "embedding/spread": unit.std(0).mean() * width**0.5,
        "embedding/uniformity": (energy / (batch * (batch - 1))).clamp(min=1e-12).log(),
    }


def alignment(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Return the mean squared distance of normalised partners (Wang & Isola 2020), 0 to 4."""
    a, b = (F.normalize(z.float(), dim=1) for z in (z_a, z_b))
    return (a - b).square().sum(1).mean()


def rank_me(gram: Tensor) -> float:
    """Return RankMe (Garrido et al. 2023): exp of the entropy of the singular values' shares.

    Args:
        gram: `z zᵀ` of embeddings, `[B, B]`.

    Returns:
        Between 1 and min(B, D).
    """
    singular = torch.linalg.eigvalsh(in_float64(gram)).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=1e-12)
    return float((-torch.special.xlogy(shares, shares).sum()).exp())
