"""What is here needs a GPU: tests marked ``gpu`` are skipped without one, and their twins on the CPU run everywhere."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu_or_skip(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(
            "needs a CUDA device, and torch finds none here; the tests beside it without the mark are its CPU twins"
        )
