from .base.errors import UserError as UserError
from .export import load_encoder as load_encoder
from .export import load_masker as load_masker
from .game.plain import plain_step as plain_step
from .game.players import TwoPlayers as TwoPlayers
from .game.players import View as View
from .game.step import two_player_step as two_player_step
from .masks.budget import Budget as Budget
from .masks.exact import exact_sigmoid as exact_sigmoid
from .masks.given import GivenMasker as GivenMasker
from .masks.learned import SequentialMasker as SequentialMasker
from .masks.learned import SimultaneousMasker as SimultaneousMasker
from .masks.penalties import budget_penalty as budget_penalty
from .masks.penalties import consistency_penalty as consistency_penalty
from .masks.penalties import entropy_penalty as entropy_penalty
from .masks.penalties import equipartition_penalty as equipartition_penalty
from .masks.penalties import overlap_penalty as overlap_penalty
from .masks.penalties import sparsity_penalty as sparsity_penalty
from .masks.random import RandomBlockMasker as RandomBlockMasker
from .masks.random import RandomPatchMasker as RandomPatchMasker
from .masks.tokens import token_masks as token_masks
from .objectives.simclr import nt_xent as nt_xent
from .training.launch import pretrain as pretrain

__version__: str
