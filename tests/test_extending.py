"""The templates of docs/EXTENDING.md train, and what is not as their protocols say is one line."""

from pathlib import Path

import mypy.api
import numpy as np
import pytest
from conftest import ROOT

TEMPLATES = ROOT / "examples" / "extending"

TYPED = """
from dpi.architectures import ADM, Architecture, DRUNet
from dpi.conditioning import DPI, MLP, Conditioning, FiLM, Mixture, NCSNv2, SigmaMap, TMap
from dpi.data import Avatars, Folder, Npz, Source
from dpi.frameworks import FlowMatching, Framework, VPDiffusion
from discs import Discs
from output_scale import OutputScale
from residual_cnn import ResidualCNN
from trig_flow import TrigFlow

architectures: list[Architecture] = [ADM, DRUNet, ResidualCNN]
conditionings: list[Conditioning] = [
    DPI, FiLM, MLP, Mixture, NCSNv2, SigmaMap, TMap, OutputScale
]
frameworks: list[Framework] = [VPDiffusion(), FlowMatching(), TrigFlow()]
sources: list[Source] = [Avatars(1, 8), Folder(".", 8), Npz(".", 8), Discs(1, 8)]
"""

BROKEN = """
from pathlib import Path
import numpy as np
from torch import nn
from dpi.frameworks import VPDiffusion
from discs import Discs

class NoLength:
    image_size, image_channels, fingerprint = 16, 3, 16 * "0"
    def __init__(self, count, image_size): pass
    def __getitem__(self, i): return np.zeros((3, 16, 16), np.uint8)

class OtherSize(Discs):
    def __init__(self, count, image_size): super().__init__(count, 2 * image_size)

class NoHash(Discs):
    fingerprint = "../discs"

class Grey(Discs):
    image_channels = 1
    def __getitem__(self, i): return super().__getitem__(i)[:1]

class ChannelsLast(Discs):
    def __getitem__(self, i): return super().__getitem__(i).transpose(1, 2, 0)

class OneChannel(nn.Conv2d):
    def __init__(self): super().__init__(3, 1, 1)

class Numbers(nn.Conv2d):
    # Cannot be built on the meta device.
    def __init__(self):
        super().__init__(3, 3, 1)
        assert self.weight.abs().max() > 0
        self.scale = float(self.weight.std())

    def forward(self, x):
        assert x.isfinite().all()
        return super().forward(x / self.scale)

class Refuses(Numbers):
    def __init__(self):
        super().__init__()
        raise ValueError("mine is wrong")

class RefusesImages(Numbers):
    def forward(self, x):
        raise RuntimeError("images of mine")

class OneTarget(VPDiffusion):
    def corrupt(self, x, noise, s):
        x, target = super().corrupt(x, noise, s)
        return x, target.mean(1, keepdim=True)

class Moved(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
    def forward(self, x):
        if self.training and Path("run/status.json").exists():
            Path("run").rename("moved")
        return self.layer(x)

class NoSampler:
    num_scalars, precondition, solvers = 1000, False, ("none",)
    def __init__(self, **_): pass
    def corrupt(self, x, noise, s): return x, noise
"""


def line(text: str) -> int:
    """Where it is in BROKEN."""
    return BROKEN[: BROKEN.index(text)].count("\n") + 1


@pytest.fixture
def train(command, monkeypatch, tmp_path):
    """Two steps of train.py on discs, with what is in examples/extending."""
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(TEMPLATES)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*overrides: str, **how):
        words = ["--config-dir", str(TEMPLATES / "configs"), "data=discs", "scale=mini"]
        words += ["trainer=cpu", "run=run", "data.count=24", "data.held_out=8"]
        words += ["training.batch_size=8", "training.steps=2"]
        words += ["training.show.num_images=2", "training.show.num_steps=2"]
        return command("train.py", *words, *overrides, **how)

    return run


@pytest.mark.parametrize(
    "overrides",
    [
        ["arch=residual_cnn", "cond=tmap"],  # which asks for a fourth channel
        ["arch=residual_cnn", "cond=dpi", "framework=trig_flow"],
        ["cond=output_scale"],
    ],
    ids=" ".join,
)
def test_a_template_is_trained_sampled_and_evaluated(train, command, overrides):
    done = train(*overrides)
    assert "python sample.py run=run n=64 trust=true\n" in done.out
    name = "objective" if "framework=trig_flow" in overrides else "denoising"
    assert f"python evaluate.py run=run eval={name} effort=mini trust=true" in done.out
    sample = ["sample.py", "run=run", "n=2", "steps=4", "npz=true", "out=drawn", "device=cpu"]
    assert "trust=true" in command(*sample, status=1).err
    done = command(*sample, "trust=true")
    with np.load("drawn.npz") as file:
        assert file["arr_0"].shape == (2, 16, 16, 3) and np.ptp(file["arr_0"]) > 0
    settings = ["pictures=8", "noise_seeds=1", "t=[0,999]"]
    evaluate = ["evaluate.py", "run=run", "eval=objective", "accelerator=cpu", "trust=true"]
    done = command(*evaluate, *(f"eval.objective.{setting}" for setting in settings))
    assert Path("run/evaluation/objective.json").exists()


def test_the_architecture_takes_greyscale_images(train):
    grey = ["image_channels=1", "data.source._target_=broken.Grey"]
    train("arch=residual_cnn", "cond=tmap", *grey)


KEYS = ("in_channels", "out_channels", "channels", "num_blocks", "dropout")
ARCH = [f"~arch.{key}" for key in KEYS]


def test_a_network_that_needs_numbers_is_tried_on_the_cpu(train):
    train("arch._target_=broken.Numbers", *ARCH)


@pytest.mark.slow
def test_all_are_of_the_types_that_the_protocols_say(monkeypatch, tmp_path):
    monkeypatch.setenv("MYPYPATH", f"{ROOT / 'src'}:{TEMPLATES}")
    (tmp_path / "typed.py").write_text(TYPED)
    how = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    out, _, status = mypy.api.run([*how, str(tmp_path / "typed.py")])
    assert status == 0, out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "data.source._target_=broken.NoLength",
            "data.source: NoLength has no __len__; see Source",
        ),
        ("data.source._target_=broken.OtherSize", "has image_size=32"),
        ("data.source._target_=broken.NoHash", "not 12 or more hexadecimal digits"),
        ("data.source._target_=broken.ChannelsLast", "image 0 of ChannelsLast is uint8 of shape"),
        (
            "data.source._target_=broken.Nothing",
            "module 'broken' has no attribute 'Nothing'",
        ),
        ("+data.source.colour=red", "unexpected keyword argument 'colour'"),
        ("~data.cache_dir", "data.cache_dir"),
        ("arch._target_=broken.Refuses", f"mine is wrong ...broken.py, line {line('is wrong')})"),
        ("arch._target_=broken.RefusesImages", f"of mine ...broken.py, line {line('of mine')})"),
        ("arch._target_=broken.OneChannel", "the network's output has shape (2, 1, 16, 16)"),
        ("framework._target_=broken.OneTarget", "the network's target has shape (2, 1, 16, 16)"),
        ("framework._target_=broken.NoSampler", "NoSampler has no preconditioning, sample; see"),
        ("arch=residual_cnn cond=mlp", "this architecture takes no time_embedding="),
        (
            "framework=trig_flow eval=[denoising] eval.denoising.pictures=8",
            "eval=denoising: it is only of diffusion",
        ),
    ],
)
def test_what_breaks_a_protocol_is_one_line(train, override, said):
    done = train(*override.split(), *(ARCH if "arch._target_" in override else []), status=1)
    assert all(part in done.one_line() for part in said.split("...")), done
    assert not Path("run").exists()


def test_a_run_that_is_moved_as_it_trains_ends_in_one_line_and_leaves_no_husk(train):
    done = train("arch._target_=broken.Moved", *ARCH, "cond=ncsnv2", status=1)
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "run was deleted or moved while" in lines[0], done.err
    assert "Traceback" not in done.err and not Path("run").exists()
    assert Path("moved/config.yaml").exists()
