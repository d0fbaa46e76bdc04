import pytest
import slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The environment of a Slurm of two nodes."""
    if reason := slurm.missing():
        pytest.skip(f"no Slurm can be started here: {reason}")
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment
