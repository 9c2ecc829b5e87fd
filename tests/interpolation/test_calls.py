"""What g(x, s) does around its arithmetic: verification, compilation, precision, structure."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounter

from dpi.architectures import ADM, DRUNet
from dpi.interpolation import interpolate

NETWORKS = {
    "DRUNet": lambda: DRUNet(channels=(4, 8), num_blocks=1),
    "ADM": lambda: ADM(
        image_size=8,
        base_channels=8,
        channel_mult=(1,),
        attention_resolutions=(8,),
        head_channels=4,
        norm_groups=2,
    ),
    "grouped": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 2, 8, batch_first=True)
    ),
}


def make(net: nn.Module, **options) -> nn.Module:
    torch.manual_seed(0)
    g = interpolate(net, **options).eval()
    with torch.no_grad():
        for p in g.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return g


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_compiles_to_one_graph_without_recompiling(name):
    g, x = make(NETWORKS[name]()), torch.randn(6, 3, 8, 8)
    batches = {
        "one scalar": [torch.tensor(i) for i in (3, 500, 999)],
        "a scalar for each sample": [torch.randint(1000, (6,)) for _ in range(3)],
        "a plan": [g.plan(torch.tensor([1, 1, 5, 5, 9, 9]) * k) for k in (1, 50, 111)],
    }
    for scalars in batches.values():
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled = torch.compile(g, backend=counter, fullgraph=True)
        for s in scalars:
            torch.testing.assert_close(compiled(x, s), g(x, s))
        assert counter.frame_count == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"schedule": "mixture", "num_sets": 3}, {"schedule": "free", "num_sets": 3, "rank": 2}],
)
def test_a_compiled_network_takes_other_batch_sizes(options):
    torch._dynamo.reset()
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 1))
    g = make(net, **options)
    compiled = torch.compile(g, backend=CompileCounter(), fullgraph=True)
    for size in (4, 3, 5):  # from the second on, dynamo compiles for any size
        x, s = torch.randn(size, 3, 8, 8), torch.randint(1000, (size,))
        torch.testing.assert_close(compiled(x, s), g(x, s), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(compiled(x, torch.tensor(7)), g(x, 7), atol=1e-5, rtol=1e-4)


def test_compiled_in_place_groups_equal_scalars():
    torch._dynamo.reset()
    g, x = make(NETWORKS["DRUNet"]()), torch.randn(6, 3, 8, 8)
    s = [torch.tensor([1, 1, 5, 5, 9, 9]), torch.tensor([4, 4, 7, 7, 8, 8])]
    expected = [g(x, scalars) for scalars in s]
    counter = CompileCounter()
    g.compile(backend=counter, fullgraph=True)
    for scalars, y in zip(s, expected, strict=True):
        torch.testing.assert_close(g(x, scalars), y)
    assert counter.frame_count == 1


def test_exports_with_s_as_an_input():
    g, x = make(NETWORKS["DRUNet"]()), torch.randn(3, 3, 8, 8)
    s = torch.tensor([0, 400, 999])
    exported = torch.export.export(g, (x, s)).module()
    for other in (s, torch.tensor([1, 1, 500])):
        torch.testing.assert_close(exported(x, other), g(x, other))
    assert exported(x, torch.tensor([0, 0, 1000]))[2].isnan().all(), "out of range"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("s", [3, torch.tensor([0, 3, 3, 900])])
@pytest.mark.parametrize("mode", ["one_pass", "grouped"])
def test_precisions(dtype, s, mode):
    g = make(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)), mode=mode)
    x = torch.randn(4, 4)
    expected = g(x, s)
    low = copy.deepcopy(g).to(dtype)
    y = low(x.to(dtype), s)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in low.parameters())


def test_lambda_is_not_rounded_to_half_precision():
    # bfloat16 has 2^-8 near 1, the steps of lambda are 2^-10.
    g = interpolate(nn.Linear(1, 1, bias=False), num_scalars=1024, schedule="linear")
    with torch.no_grad():
        g.theta0.weight.fill_(0), g.theta1.weight.fill_(256)
    g.bfloat16()
    x = torch.ones(2, 1, dtype=torch.bfloat16)
    s = torch.tensor([1021, 1020])
    expected = (256 * s / 1023).bfloat16()
    assert torch.equal(g(x, s)[:, 0], expected)
    assert torch.equal(g(x, s[0])[0], expected[:1])


def test_verification_leaves_no_trace():
    class Traced(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.dropout = nn.Linear(3, 3), nn.Dropout(0.5)
            self.norm = nn.BatchNorm1d(3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.dropout(self.norm(self.layer(x)))

    g = interpolate(Traced()).train()
    seen = []
    g.theta0.layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x, s = torch.randn(4, 3), torch.tensor([1, 5, 5, 900])
    torch.manual_seed(1)
    first = g(x, s)
    assert g.last_run == "4 samples, 3 scalars: one pass"
    assert g.theta0.calls == len(seen) == g.theta0.norm.num_batches_tracked == 1
    torch.manual_seed(1)
    assert torch.equal(g(x, s), first), "random numbers are those of a verified shape"


def test_hooks_see_the_interpolated_output():
    g, seen = make(nn.Sequential(nn.Linear(3, 3), nn.Tanh())), []
    g.theta0[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    x, s = torch.randn(4, 3), torch.tensor([1, 5, 5, 900])
    y = g(x, s)
    torch.testing.assert_close(torch.tanh(seen[0]), y)


class Permuting(nn.Linear):
    def forward(self, x):
        return super().forward(x.flip(0)).flip(0)


class Table(nn.Linear):
    def __init__(self, rows):
        super().__init__(3, 3)
        self.register_buffer("table", torch.randn(rows, 3))

    def forward(self, x):
        return x + F.linear(self.table, self.weight).mean(0)


@pytest.mark.parametrize("net", [Permuting(3, 3), Table(2), Table(3), Table(4)])
def test_a_network_that_cannot_be_run_in_one_pass_is_grouped(net):
    g = make(net)
    x, s = torch.randn(4, 3), torch.tensor([1, 5, 5, 900])
    torch.testing.assert_close(g(x, s), torch.cat([g(x[i : i + 1], s[i]) for i in range(4)]))
    g(x, s)
    assert "grouped, since" in g.last_run and g.last_run in repr(g)
    g.mode = "one_pass"
    with pytest.raises(RuntimeError, match="impossible"):
        g(x, s)
    with pytest.raises(ValueError, match="mode must be one of"):
        g.mode = "typo"


def test_tokens_in_the_first_dimension_and_as_many_tokens_as_samples():
    g, s = make(nn.Linear(3, 3)), torch.arange(64) * 10
    x = torch.randn(64, 64, 3)
    y = g(x, s)
    assert g.last_run.endswith("one pass")
    torch.testing.assert_close(y[7], g(x[7:8], s[7])[0])

    class Transposing(nn.Linear):
        def forward(self, x):
            return super().forward(x.transpose(0, 1)).transpose(0, 1)

    g = make(Transposing(3, 3))
    y = g(x, s)
    assert "grouped" in g.last_run
    torch.testing.assert_close(y[7], g(x[7:8], s[7])[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda g: nn.utils.parametrizations.weight_norm(g.theta0[0]),
        lambda g: g.theta0.append(nn.Linear(2, 2)),
        lambda g: g.theta1.__setitem__(0, nn.Identity()),
        lambda g: g.theta0[0].register_parameter("bias", None),
    ],
)
def test_a_structure_that_changed_after_interpolate_is_refused(change):
    g = make(nn.Sequential(nn.Linear(3, 2)))
    change(g)
    with pytest.raises(RuntimeError, match="changed since `interpolate`"):
        g(torch.randn(2, 3), 3)


def test_sync_batch_norm_conversion_keeps_the_names():
    g = make(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)))
    x, s = torch.randn(2, 1, 4, 4), torch.tensor([1, 900])
    expected = g(x, s)
    torch.testing.assert_close(nn.SyncBatchNorm.convert_sync_batchnorm(g)(x, s), expected)


def test_threads_do_not_disturb_each_other():
    g = make(nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 3)))
    before = copy.deepcopy(g.state_dict())
    x = torch.randn(8, 3)
    scalars = [torch.tensor(s) for s in (0, 999)] + [torch.randint(1000, (8,)) for _ in range(2)]
    expected = [g(x, s) for s in scalars]
    wrong = []

    def work(i: int) -> None:
        for _ in range(50):
            if not torch.allclose(g(x, scalars[i]), expected[i], atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(torch.equal(value, before[name]) for name, value in g.state_dict().items())


def test_attributes_set_in_the_forward_pass_are_kept():
    class Caching(nn.Linear):
        cache = None

        def forward(self, x):
            if self.cache is None:
                self.cache = torch.ones(3)
            return super().forward(x) + self.cache

    g = interpolate(Caching(3, 3))
    g(torch.randn(2, 3), torch.tensor([1, 2]))
    kept = g.theta0.cache
    g(torch.randn(2, 3), 5)
    assert kept is not None and g.theta0.cache is kept


def test_two_scalars_in_one_pass():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    g = interpolate(interpolate(copy.deepcopy(plain), num_scalars=10), num_scalars=5).double()
    assert g.theta1.interpolation.phi is None, "lambda is not interpolated itself"
    with torch.no_grad():
        for p in g.parameters():
            p.add_(torch.randn_like(p))
    x = torch.randn(4, 3, dtype=torch.float64)
    r, t = torch.tensor([0, 3, 3, 4]), torch.tensor([9, 2, 2, 5])

    def by_hand(i: int) -> torch.Tensor:
        a = g.interpolation.phi.softmax(0).cumsum(0)[r[i]]
        b = g.theta0.interpolation.phi.softmax(0).cumsum(0)[t[i]]
        four = [dict(n.named_parameters()) for m in (g.theta0, g.theta1) for n in m.sets()]
        theta = {
            name: (1 - a) * ((1 - b) * p + b * four[1][name])
            + a * ((1 - b) * four[2][name] + b * four[3][name])
            for name, p in four[0].items()
        }
        return torch.func.functional_call(plain, theta, (x[i : i + 1],))

    results = []
    for run in (lambda: g(x, r, t), lambda: torch.cat([by_hand(i) for i in range(4)])):
        g.zero_grad()
        y = run()
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad.clone() for p in g.parameters())])
    torch.testing.assert_close(*results)
    assert g.last_run.endswith("one pass")
    torch.testing.assert_close(g(x, 2, 3), g(x, torch.tensor([2] * 4), torch.tensor([3] * 4)))
    g.load_plain(plain.state_dict())
    torch.testing.assert_close(g(x, r, t), plain(x))


def test_a_plain_state_dict_is_loaded_into_every_set():
    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))

    trained = network()
    trained(torch.randn(3, 1, 4, 4))
    g = interpolate(network(), exclude=["2.*"], num_sets=3)
    g.load_plain(trained.state_dict())
    x = torch.randn(2, 1, 4, 4)
    for s in (0, 500, 999):
        torch.testing.assert_close(g.eval()(x, s), trained.eval()(x))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        g.load_plain({**trained.state_dict(), "other": torch.zeros(1)})


def test_values_of_the_network_are_reached_but_no_methods():
    net = nn.Linear(3, 3)
    net.config = {"channels": 3}
    net.encode = lambda x: x
    g = interpolate(net)
    assert g.config == {"channels": 3} and g.in_features == 3
    for name in ("encode", "weight", "missing"):
        with pytest.raises(AttributeError):
            getattr(g, name)


def test_what_cannot_be_interpolated_is_refused():
    with pytest.raises(TypeError, match="such as MyNetwork"):
        interpolate(nn.Identity)
    with pytest.raises(ValueError, match="run the network once"):
        interpolate(nn.LazyLinear(3))
    with pytest.raises(ValueError, match="ScriptModule"):
        interpolate(torch.jit.script(nn.Linear(3, 3)))
    net = nn.Linear(3, 3)
    net.index = nn.Parameter(torch.arange(3), requires_grad=False)
    with pytest.raises(ValueError, match="exclude=\\['index'\\]"):
        interpolate(net)
    interpolate(net, exclude=["index"])
    g = interpolate(nn.Sequential(nn.Linear(3, 3)))
    g.theta0[0].compile()
    with pytest.raises(TypeError, match=r"torch\.compile\(net\)"):
        g(torch.randn(2, 3), 3)
