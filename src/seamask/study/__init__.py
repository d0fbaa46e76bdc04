"""Studies: methods × seeds × evaluations, shared among workers, and the table of what they found.

`shipped` names the studies of the package, `study` reads one (`grid`: what it is), `worker` runs it
in a `folder`, `table` and `figure` write what it found.
"""
