from .plain import plain_step as plain_step
from .players import TwoPlayers as TwoPlayers
from .players import View as View
from .step import two_player_step as two_player_step
