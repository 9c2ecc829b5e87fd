"""What the CPU waits for and which devices can be mixed; on a GPU, that the simulation is right."""

import pytest
import torch

WAITING = {
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "a condition": lambda x: bool(x.sum() > 0),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: x.unique(),
    "unique_consecutive": lambda x: x.unique_consecutive(),
    "masked_select": lambda x: x.masked_select(x > 0),
    "a mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x + 1),
    "a copy to the CPU": lambda x: x.cpu(),
    "a copy to a tensor on the CPU": lambda x: torch.empty(2, 3).copy_(x),
    "a copy from the CPU": lambda x: torch.ones(3).to(x.device),
    "a copy into a tensor": lambda x: x.copy_(torch.ones(2, 3)),
    "a new tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "an index on the CPU": lambda x: x[torch.tensor([0, 0])],
}
NOT_WAITING = {
    "a copy with non_blocking": lambda x: torch.ones(3).to(x.device, non_blocking=True),
    "a copy into a tensor with it": lambda x: x.copy_(torch.ones(2, 3), non_blocking=True),
    "a constant": lambda x: torch.zeros(3, device=x.device) + x.new_full((3,), 2),
    "a scalar on the CPU": lambda x: x * torch.tensor(2.0) + torch.tensor(1),
    "an index": lambda x: x[torch.zeros(2, dtype=torch.long, device=x.device)],
    "a selection": lambda x: x[0, 1:],
    "where with three": lambda x: torch.where(x > 0, x, 0.0),
    "a copy on the device": lambda x: x.clone().double().to(x.device),
    "in place": lambda x: x.add_(1).clamp_(min=0),
}
MIXED = {
    "a sum": lambda x: x + torch.ones(2, 3),
    "a scalar that is written": lambda x: torch.tensor(1.0).add_(x.sum()),
    "cat": lambda x: torch.cat([x, torch.ones(2, 3)]),
    "a stack of scalars": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "a matmul": lambda x: x @ torch.ones(3, 1),
    "an index on the device": lambda x: torch.ones(3)[x.new_zeros(1, dtype=torch.long)],
    "NumPy": lambda x: x.numpy(),
}


def example(accelerator):
    return torch.tensor([[1.0, -2.0, 3.0], [0.0, 5.0, 5.0]]).to(accelerator.device)


@pytest.mark.parametrize("name", WAITING)
def test_the_cpu_waits_once(accelerator, name):
    x = example(accelerator)
    with accelerator.waits() as found:
        WAITING[name](x)
    assert len(found) >= 1
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


def test_gradients_are_those_of_the_cpu(accelerator):
    w = torch.randn(3, requires_grad=True)
    v = w.detach().to(accelerator.device).requires_grad_()
    x = torch.randn(2, 3)
    (x * w).exp().sum().backward()
    y = x.to(accelerator.device)
    with accelerator.no_waits():
        (y * v).exp().sum().backward()
    accelerator.check_equal(v.grad, w.grad)
