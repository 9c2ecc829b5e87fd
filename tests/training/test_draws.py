"""The randomness of a step: complete, stratified, and a function of (seed, step) alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dpi.training.draws import Draws


def draws(seed: int = 3, **changes) -> Draws:
    training = {"batch_size": 16, "distinct_scalars": 8, "stratified": True} | changes
    return Draws(OmegaConf.create(training), seed, num_images=50, num_scalars=1000)


def test_every_image_is_drawn_once_before_any_is_repeated():
    stream = torch.cat([draws().images(step) for step in range(25)])
    for epoch in stream.split(50):
        assert sorted(epoch.tolist()) == list(range(50))
    assert not torch.equal(stream[:50], stream[50:100])


@given(
    st.integers(1, 64),
    st.integers(1, 32) | st.none(),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_scalars_are_as_many_as_requested_and_in_range(batch_size, distinct, stratified, step):
    distinct = min(distinct, batch_size) if distinct else None
    s = draws(batch_size=batch_size, distinct_scalars=distinct, stratified=stratified).scalars(step)
    assert s.shape == (batch_size,) and s.min() >= 0 and s.max() < 1000
    assert len(s.unique()) <= (distinct or batch_size)
    if stratified:
        count = distinct or batch_size
        stratum = torch.arange(batch_size) * count // batch_size
        assert (s - (stratum + 0.5) * 1000 / count).abs().max() <= 500 / count + 1


@given(st.integers(1, 64), st.integers(1, 32) | st.none(), st.sampled_from([1, 2, 3, 4]))
def test_consecutive_samples_of_a_micro_batch_share_a_scalar(size, distinct, parts):
    whole = draws(batch_size=size * parts, distinct_scalars=min(distinct or 32, size * parts))
    n = whole.samples_per_scalar(size)
    groups = whole.scalars(0).reshape(parts, size)
    assert n is None or (groups.unflatten(1, (-1, n)).diff(dim=2) == 0).all()
    if whole.batch_size % whole.count == 0 and parts == 1:
        assert n == size // whole.count


def test_stratified_scalars_cover_the_schedule_evenly():
    s = torch.cat([draws().scalars(step).unique() for step in range(4000)])
    counts = torch.histc(s.float(), bins=10, min=0, max=1000)
    assert (counts / counts.mean() - 1).abs().max() < 0.1


def test_one_stratified_scalar_a_step_covers_the_schedule_in_eight_steps():
    s = torch.cat([draws(distinct_scalars=1).scalars(step).unique() for step in range(4000)])
    rounds = (s.reshape(500, 8) // 125).sort(dim=1)
    assert torch.equal(rounds.values, torch.arange(8).expand(500, 8))
    assert rounds.indices.unique(dim=0).shape[0] > 400  # in another order each time


def test_steps_seeds_and_streams_differ_and_repeat():
    assert torch.equal(draws().scalars(7), draws().scalars(7))
    assert not torch.equal(draws().scalars(7), draws().scalars(8))
    assert not torch.equal(draws().scalars(7), draws(seed=4).scalars(7))
    first, second = (draws().noise(step, (3, 4, 4), "cpu") for step in (0, 1))
    assert first.shape == (16, 3, 4, 4)
    assert abs(first.mean()) < 0.1 and abs(first.std() - 1) < 0.1
    assert abs((first * second).mean()) < 0.1
