from .launch import Summary as Summary
from .launch import pretrain as pretrain
from .launch import resume as resume
from .launch import start as start
