"""What the CPU waits for and which devices can be mixed; on a GPU, that the simulation is right."""

import pytest
import torch

WAITING = {
    "item": lambda x: x.sum().item(),
    "a condition": lambda x: bool(x.sum() > 0),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "a mask": lambda x: x[x > 0],
    "a copy to the CPU": lambda x: x.cpu(),
    "a copy from the CPU": lambda x: torch.ones(3).to(x.device),
    "a copy into a tensor": lambda x: x.copy_(torch.ones(2, 3)),
    "a new tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "an index on the CPU": lambda x: x[torch.tensor([0, 0])],
}
NOT_WAITING = {
    "a copy with non_blocking": lambda x: torch.ones(3).to(x.device, non_blocking=True),
    "a constant": lambda x: torch.zeros(3, device=x.device) + x.new_full((3,), 2),
    "a scalar on the CPU": lambda x: x * torch.tensor(2.0) + torch.tensor(1),
    "an index": lambda x: x[torch.zeros(2, dtype=torch.long, device=x.device)],
    "in place": lambda x: x.add_(1).clamp_(min=0),
}
MIXED = {
    "a sum": lambda x: x + torch.ones(2, 3),
    "a scalar that is written": lambda x: torch.tensor(1.0).add_(x.sum()),
    "a stack of scalars": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "an index on the device": lambda x: torch.ones(3)[x.new_zeros(1, dtype=torch.long)],
}


def example(accelerator):
    return torch.tensor([[1.0, -2.0, 3.0], [0.0, 5.0, 5.0]]).to(accelerator.device)


@pytest.mark.parametrize("name", WAITING)
def test_the_cpu_waits(accelerator, name):
    x = example(accelerator)
    with accelerator.waits() as found:
        WAITING[name](x)
    # On a GPU it is the line that calls the operation, which may be in torch/functional.py.
    elsewhere = ("functional.py",) if accelerator.device.type == "cuda" else ()
    assert any(name in found[0] for name in ("test_simulated.py", *elsewhere))


@pytest.mark.parametrize("name", NOT_WAITING)
def test_the_cpu_does_not_wait(accelerator, name):
    x = example(accelerator)
    with accelerator.no_waits():
        found = NOT_WAITING[name](x)
    assert found.device.type == accelerator.device.type


@pytest.mark.parametrize("name", MIXED)
def test_devices_cannot_be_mixed(accelerator, name):
    x = example(accelerator)
    with pytest.raises((RuntimeError, TypeError)):
        MIXED[name](x)
