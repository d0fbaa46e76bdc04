import os
from pathlib import Path

import pytest
import torch

from seamask.base.precision import chosen_precision, multiplies_bf16_fast, use_precision


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    use_precision("fp32")
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.parametrize(("precision", "tf32"), [("tf32", True), ("fp32", False), ("bf16", False)])
def test_products_and_convolutions_are_computed_alike(precision, tf32):
    use_precision("fp32" if tf32 else "tf32")
    use_precision(precision)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_is_said_to_every_library():
    torch.backends.cudnn.benchmark = True
    use_precision("fp32", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


CPU = Path("/proc/cpuinfo")


@pytest.mark.skipif(
    not (CPU.exists() and {"amx_bf16", "avx512_bf16"} & {*CPU.read_text().split()}),
    reason="products in bfloat16 need not be fast here",
)
def test_a_cpu_that_multiplies_bf16_fast_is_found_out():
    assert multiplies_bf16_fast()
    assert chosen_precision("auto", "cpu") == "bf16"


def test_what_is_asked_for_stays():
    assert [chosen_precision(p, "cpu") for p in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert chosen_precision("auto", "mps") == "fp32"
