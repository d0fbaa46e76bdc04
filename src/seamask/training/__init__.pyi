from .launch import pretrain as pretrain
from .launch import resume_run as resume_run
from .launch import start_run as start_run
from .report import Summary as Summary
from .signals import Stopped as Stopped
