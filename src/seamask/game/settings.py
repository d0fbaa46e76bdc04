"""The rules of the game.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import Within, short, written
from seamask.masks.role import Role
from seamask.views.settings import Fill


@dataclass(frozen=True)
class Rules:
    """Which masks are trained on, what is compared, who moves when."""

    single: bool = False
    """Train on one of the N masks per image, drawn at random: ADIOS-s ([ADIOS]). Drawn once a step
    for both players ([ADIOS] code draws anew for each)."""
    compare: tuple[Literal["one", "each", "both", "none"], ...] = ("one",)
    """What the encoder compares ([ADIOS] SimSiam: each, none, both). `one`: a clean view with the
    other, masked; `each`: so with either view masked in turn; `both`: two masked views; `none`: two
    clean ones. The loss is the mean over all pairs and both directions of each."""
    one_sided: bool = False
    """`byol`, `simsiam`, `moco`: of a masked and a clean view the masked one is the prediction
    only, never the target ([ADIOS] SimSiam scripts: `use_symmetry_mask false`)."""
    reduction: Literal["mean", "sum"] = "mean"
    """Losses of the N masks are averaged ([Seq]) or summed ([ADIOS] code); and so are penalties
    over the views, where both are masked."""
    role: Annotated[Role, written(Role)] = Role()
    """By what the loss is multiplied that a learned masker raises: 1 adversary, -1 partner; `-1->1`
    moves from one to the other over the training (CL-MAE)."""
    every: Annotated[int, Within(1)] = 1
    """The masker moves in every so many steps, the encoder in each: fewer passes."""
    stack: Annotated[bool, short("stack")] = False
    """Encode all views of a batch in one pass, batch norm still view by view: the same step, faster
    for small images and batches, at N + 1 times the memory."""
    fill: Fill = "mean"
    """What stands where a mask removes: `mean`, the mean colour ([Seq], [ADIOS]); `noise`, white,
    of the data set's mean and deviation; `blur`, the view blurred by a Gaussian of 10 pixels of
    224; `other`, another image of the batch, its neighbour."""
    drop: Annotated[float, Within(0, 1, below=True)] = 0.0
    """ViTs only: patches of which more than this share is masked are left out of the sequence, for
    faster masked passes. In passes from which masks learn (with simultaneous updates: in steps in
    which masks move) they stay, and no other token attends to them: that saves no time; masks are
    told what it would bring to attend to them again. 0: nothing is left out, pixels are removed and
    no more."""
