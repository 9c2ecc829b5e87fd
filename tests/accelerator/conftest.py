"""The devices to test on: a simulated accelerator and, where there is one, a GPU."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from accelerator.simulated import DEVICE, Simulated
from torch import Tensor


class Accelerator:
    """A device, and what makes the CPU wait for it.

    Args:
        device: the device.
        simulated: what it is simulated by, if it is.
    """

    def __init__(self, device: torch.device, simulated: Simulated | None = None) -> None:
        self.device = device
        self._simulated = simulated

    @contextmanager
    def waits(self) -> Iterator[list[str]]:
        """A list that at the end holds each wait and where it was."""
        found: list[str] = []
        if self._simulated is not None:
            before = len(self._simulated.waits)
            yield found
            found += self._simulated.waits[before:]
            return
        with warnings.catch_warnings(record=True) as caught, _debug_mode("warn"):
            warnings.simplefilter("always")
            yield found
        found += [f"{w.filename}:{w.lineno}" for w in caught if "synchronizing" in str(w.message)]

    @contextmanager
    def no_waits(self) -> Iterator[None]:
        """Fails if the CPU waits."""
        if self._simulated is None:
            with _debug_mode("error"):
                yield
            return
        with self.waits() as found:
            yield
        assert not found, "\n".join(found)

    def check_equal(self, found: Tensor, expected: Tensor) -> None:
        """Fails unless a tensor on the device has the values of one on the CPU."""
        assert found.device.type == self.device.type and expected.device.type == "cpu"
        # A GPU adds up in another order; samplers amplify the difference.
        close = 1e-4 if self._simulated is None else 1e-5
        torch.testing.assert_close(found.detach().cpu(), expected.detach(), atol=close, rtol=close)


@contextmanager
def _debug_mode(mode: str) -> Iterator[None]:
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


without_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=without_gpu)])
def accelerator(request, monkeypatch) -> Iterator[Accelerator]:
    """A device that is not the CPU."""
    if request.param == "simulated":
        with Simulated() as simulated:
            yield Accelerator(DEVICE, simulated)
        return
    # As precise as the CPU.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    yield Accelerator(torch.device("cuda", 0))
