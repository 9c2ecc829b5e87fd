"""evaluate.py eval=fidelity: torch-fidelity's numbers, resumed, from a run or from two files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from conftest import ROOT, flip
from evaluation import random_inception
from evaluation.test_neighbours import brute_force
from PIL import Image
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from dpi.evaluation.extractors import SPATIAL_CHANNELS, feature_network, random_kernels
from dpi.evaluation.frechet import frechet_distance, statistics
from dpi.evaluation.run_images import images_of
from dpi.runs.rows import read_rows
from dpi.runs.run import open_run

KEPT = Path("data/cache/evaluations")


def pictures(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 2, 2, 3))
    fine = coarse.repeat(size // 2, axis=1).repeat(size // 2, axis=2)
    return (fine + rng.integers(-20, 20, fine.shape)).clip(0, 255).astype(np.uint8)


def scores(path: Path) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in json.loads(path.read_text())}


def settings(*pairs: str) -> list[str]:
    """Settings of eval.fidelity, and options of evaluate.py as they are."""
    options = ("run=", "out=", "eval=", "accelerator=", "devices=")
    return [pair if pair.startswith(options) else f"eval.fidelity.{pair}" for pair in pairs]


@pytest.fixture
def score(command, tiny_extractor, tmp_path):
    """score(fake, real, *overrides): evaluate.py on two files of pictures."""

    def compare(fake: np.ndarray, real: np.ndarray, *overrides: str, **how):
        np.savez(tmp_path / "a.npz", arr_0=fake)
        np.savez(tmp_path / "b.npz", arr_0=real)
        return command(
            "evaluate.py", "eval=fidelity", "out=rows.json", "accelerator=cpu",
            *settings("samples=a.npz", "reference=b.npz", f"extractor={tiny_extractor}"),
            *settings("cache=cache", *overrides), **how,
        )  # fmt: skip

    return compare


class Set(torch.utils.data.Dataset):
    """Pictures as torch-fidelity takes them."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.pictures[i]


def test_two_files_score_as_torch_fidelity_scores_them(score, tiny_extractor):
    fake, real = pictures(1203, seed=1), pictures(1100, seed=2) // 2
    done = score(fake[:16], real)
    assert "warning: 16 samples are fewer than the 17" in done.err
    done = score(fake, real)
    assert "warning" not in done.err, done.err
    assert "fd_tiny" in done.out and "rows.json" in done.out
    found = scores(Path("rows.json"))
    theirs = torch_fidelity.calculate_metrics(
        input1=Set(fake), input2=Set(real), feature_extractor=tiny_extractor, cuda=False,
        fid=True, kid=True, prc=True, isc=False, verbose=False, save_cpu_ram=True,
    )  # fmt: skip
    assert found["fd_tiny"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert found["kid_tiny"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert found["precision_tiny"] == pytest.approx(theirs["precision"], abs=2 / 1203)
    assert found["recall_tiny"] == pytest.approx(theirs["recall"], abs=2 / 1100)


def test_batch_size_does_not_matter_and_features_are_kept(score):
    fake, real = pictures(700, seed=1), pictures(600, seed=2)
    score(fake, real)
    before = scores(Path("rows.json"))
    kept = {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*.npz")}
    assert len(kept) == 4, "700 and 600 pictures are two chunks each"
    score(fake, real, "batch_size=33")
    assert {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*.npz")} == kept
    score(fake, real, "batch_size=33", "cache=another")
    assert scores(Path("rows.json")) == pytest.approx(before, rel=1e-4)


def test_greyscale_scores_as_three_equal_channels(score):
    fake, real = pictures(60)[..., :1], pictures(60, seed=1)[..., :1]
    score(fake, real)
    grey = scores(Path("rows.json"))
    score(fake.repeat(3, 3), real.repeat(3, 3))
    assert scores(Path("rows.json")) == grey
    four = pictures(60)[..., [0, 1, 2, 2]]
    done = score(four, four, status=1)
    assert "have 4 channels" in done.err and "extractor=pixels" in done.err


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_folders_score_as_files_of_their_images(score, channels):
    sets = {"fake": pictures(40, seed=1)[..., [0, 1, 2, 2][:channels]]}
    sets["real"] = 255 - sets["fake"][::-1]
    for name, images in sets.items():
        for i, image in enumerate(images):
            path = Path(name, "below", f"{i:03}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze()).save(path)
    score(sets["fake"], sets["real"], "extractor=random")
    of_files = scores(Path("rows.json"))
    Path("rows.json").unlink()
    score(*sets.values(), "extractor=random", "samples=fake", "reference=real")
    assert scores(Path("rows.json")) == of_files
    Image.new("RGB", (9, 8)).save("real/other.png")
    score(*sets.values(), "extractor=random", "reference=real", error="other.png is RGB of 9x8")


def test_greyscale_images_have_statistics(command):
    for i in range(4):
        Path("grey").mkdir(exist_ok=True)
        Image.fromarray(pictures(1, seed=i)[0, :, :, 0]).save(f"grey/{i}.png")
    words = ["grey", "b.npz", "--image-size", "8", "--extractor", "random", "--keep", "4"]
    command("scripts/reference_stats.py", *words, "--image-channels", "1")
    with np.load("b.npz") as file:
        assert file["arr_0"].shape == (4, 8, 8, 1)


def test_the_batch_size_does_not_change_the_content_of_a_reference(score):
    contents = set()
    for size in (1, 250):
        how = [f"batch_size={size}", f"cache=cache{size}", "extractor=random"]
        score(pictures(20, seed=1), pictures(30, seed=2), *how)
        contents |= {row["settings"]["reference_content"] for row in read_rows(Path("rows.json"))}
    assert len(contents) == 1


def test_statistics_take_the_place_of_pictures(score, command, tiny_extractor):
    fake, real = pictures(100, seed=1), pictures(300, seed=2)
    score(fake, real)
    whole = scores(Path("rows.json"))
    overrides = ["b.npz", "stats.npz", "--extractor", tiny_extractor, "--cache", "cache"]
    command("scripts/reference_stats.py", *overrides, "--keep", "50")
    with np.load("stats.npz") as file:
        assert set(file) == {"arr_0", "mu", "sigma", "extractor", "weights"}
        assert file["arr_0"].shape == (50, 8, 8, 3)
        mu, sigma = file["mu"], file["sigma"]
    score(fake, real, "reference=stats.npz")
    assert scores(Path("rows.json"))["fd_tiny"] == pytest.approx(whole["fd_tiny"], rel=1e-9)
    # EDM's files hold mu and sigma alone: no pictures, so no neighbours
    np.savez("edm.npz", mu=mu, sigma=sigma)
    Path("rows.json").unlink()
    score(fake, real, "reference=edm.npz")
    assert scores(Path("rows.json")) == {"fd_tiny": pytest.approx(whole["fd_tiny"], rel=1e-9)}


def test_a_killed_evaluation_of_a_run_resumes(run, command, monkeypatch):
    monkeypatch.setattr("dpi.evaluation.samples.SHARD", 4)
    run = run()
    overrides = [
        "evaluate.py", f"run={run}", "eval=fidelity", "accelerator=cpu",
        *settings("extractor=pixels", "n=10", "steps=4", "cache=cache", "batch_size=3"),
    ]  # fmt: skip
    command(*overrides)
    shards = sorted(KEPT.glob("*/samples*/*.npz"))
    drawn = np.concatenate([np.load(path)["arr_0"] for path in shards])
    assert len(shards) == 3 and drawn.shape == (10, 8, 8, 3)
    assert list(KEPT.glob("*/samples*.png"))
    # sample i is sample.py's
    command("sample.py", f"run={run}", "n=10", "steps=4", "npz=true", "out=s")
    with np.load("s.npz") as file:
        assert np.abs(file["arr_0"].astype(int) - drawn).max() <= 1
    # killed in the second shard: the first is complete, the last has one sample
    stamp = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    np.savez(shards[2], arr_0=np.load(shards[2])["arr_0"][:1])
    command(*overrides)
    assert shards[0].stat().st_mtime_ns == stamp
    again = np.concatenate([np.load(path)["arr_0"] for path in shards])
    assert np.abs(again.astype(int) - drawn).max() <= 1
    # a damaged one is drawn again
    flip(shards[1])
    command(*overrides)
    assert shards[0].stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(np.load(shards[1])["arr_0"], again[4:8])
    # fewer are a subset of more
    command(*overrides, *settings("n=5"))
    assert shards[2].exists() and shards[0].stat().st_mtime_ns == stamp
    rows = json.loads((run / "evaluation" / "fidelity.json").read_text())
    assert {row["settings"]["n"] for row in rows} == {5, 10}


@pytest.mark.parametrize("extractor", ["pixels", "random"])
def test_a_runs_samples_are_compared_with_its_training_images(run, command, extractor):
    run = run()
    few = [f"extractor={extractor}", "n=12", "steps=4", "cache=cache", "batch_size=5"]
    overrides = [f"run={run}", "eval=fidelity", "accelerator=cpu", *settings(*few)]
    command("evaluate.py", *overrides)
    rows = json.loads((run / "evaluation/fidelity.json").read_text())
    samples = np.concatenate([np.load(p)["arr_0"] for p in KEPT.glob("*/samples*/*.npz")])
    images, split = images_of(open_run(run))
    real = np.ascontiguousarray(images[split.train].transpose(0, 2, 3, 1))
    network = feature_network(extractor)
    theirs, ours = network.features(real)["pool"], network.features(samples)["pool"]
    assert len(theirs) == 32 and len(ours) == 12
    expected = {"fd": frechet_distance(*statistics(ours), *statistics(theirs))}
    expected["precision"], expected["recall"], *_ = brute_force(theirs, ours, 3)
    *_, expected["density"], expected["coverage"] = brute_force(theirs, ours, 5)
    found = {row["metric"]: row["value"] for row in rows}
    assert found.pop(f"kid_{extractor}") != 0
    named = {f"{metric}_{extractor}": value for metric, value in expected.items()}
    assert found == pytest.approx(named, rel=1e-4)
    recorded = json.loads((run / "split.json").read_text())
    assert {row["images"] for row in rows} == {recorded["fingerprint"]}
    assert {len(row["split"]) for row in rows} == {8}
    for path in Path("cache").rglob("features/*/*.npz"):
        flip(path)
    (run / "evaluation/fidelity.json").unlink()
    command("evaluate.py", *overrides)
    assert json.loads((run / "evaluation/fidelity.json").read_text()) == rows


def test_pixels_of_larger_images_are_averages():
    large = pictures(2, size=64)
    blocks = large.reshape(2, 16, 4, 16, 4, 3).mean(axis=(2, 4)) / 127.5 - 1
    found = feature_network("pixels").features(large)["pool"]
    assert found == pytest.approx(blocks.transpose(0, 3, 1, 2).reshape(2, -1), abs=1e-6)


def test_the_random_network_is_always_the_same(monkeypatch):
    """Its weights depend on no generator of PyTorch; on an image of one colour by hand."""
    with_cudnn, conv2d = [], nn.functional.conv2d

    def seen(*args, **kwargs) -> torch.Tensor:
        with_cudnn.append(torch.backends.cudnn.enabled)
        return conv2d(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "conv2d", seen)
    torch.manual_seed(5)
    network = feature_network("random")
    assert network.weights == "f09db2f0"
    first = torch.from_numpy(random_kernels(3)[0])
    assert first[0, 0, 0, :2].tolist() == pytest.approx([0.4801, 0.1089], abs=1e-4)
    x = torch.full((1, 3, 9, 9), 1.0)
    expected = nn.functional.conv2d(x, first, stride=2, padding=1).relu()
    found = network.features(np.full((1, 9, 9, 3), 255, np.uint8))["pool"][0]
    assert found[:32] == pytest.approx(expected[0].mean(dim=(1, 2)).numpy(), abs=1e-5)
    assert found[32:64] == pytest.approx(expected[0].amax(dim=(1, 2)).numpy(), abs=1e-5)
    assert with_cudnn and all(with_cudnn), "a GPU's convolutions"


def test_solvers_go_by_name_and_their_evaluations_are_counted(run, command):
    run = run("flow")
    few = [f"run={run}", "eval=fidelity", "extractor=pixels", "n=4", "cache=cache"]
    overrides = settings(*few)
    command("evaluate.py", *overrides, *settings("steps=3", "solver=rk4"))
    (row, *_) = json.loads((run / "evaluation" / "fidelity.json").read_text())
    assert row["settings"]["network_evaluations"] == 12
    command("evaluate.py", *overrides, *settings("solver=dopri5"), error="euler, midpoint")


def test_mistakes_are_one_line(score, monkeypatch):
    good, small = pictures(20), pictures(20, size=4)
    np.savez("text.npz", arr_0=np.array(["a"]))
    np.savez("floats.npz", arr_0=np.zeros((9, 8, 8, 3)))
    np.savez("other.npz", other=np.zeros(3))
    np.savez("narrow.npz", mu=np.zeros(9), sigma=np.zeros((9, 9)))
    np.savez("foreign.npz", mu=np.zeros(16), sigma=np.eye(16), extractor=np.array("vgg16"))
    Path("broken.npz").write_bytes(b"PK broken")
    Path("empty").mkdir()
    for overrides, hint in {
        ("reference=text.npz",): "not uint8 images",
        ("reference=floats.npz",): "not uint8 images",
        ("reference=other.npz",): "neither statistics",
        ("reference=narrow.npz",): "another extractor",
        ("reference=foreign.npz",): "another extractor, {'extractor': 'vgg16'",
        ("reference=broken.npz",): "broken.npz is not an .npz file",
        ("reference=nowhere.npz",): "reference=nowhere.npz: does not exist",
        ("reference=empty",): "empty is empty",
        ("samples=other.npz",): "holds no images",
        ("extractor=pixels", "weights=broken.npz"): "extractor=pixels takes none",
        ("run=run",): "in place of a run",
        ("n=1",): "n=1",
        (
            "extractor=inception-v3-compat",
            "weights=nowhere.pth",
        ): "weights=nowhere.pth: does not exist",
        ("extractor=inception-v3-compat", "weights=broken.npz"): "broken.npz",
    }.items():
        done = score(good, good, *overrides, error=hint)
        assert "Traceback" not in done.err and not Path("rows.json").exists()
    done = score(good, small, status=1)
    assert "8x8x3" in done.err and "4x4x3" in done.err
    for bad in (np.nan, np.inf):
        kernels = random_kernels(3)
        kernels[0][3] = bad
        monkeypatch.setattr("dpi.evaluation.extractors.random_kernels", lambda _, all=kernels: all)
        done = score(good, small, "extractor=random", "samples=b.npz", f"cache=of_{bad}", status=1)
        assert "features" in done.err and "are not finite" in done.err
    assert not Path("rows.json").exists()


def test_weights_that_cannot_be_downloaded_are_named(score, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    module = "torch_fidelity.feature_extractor_inceptionv3"
    monkeypatch.setattr(f"{module}.load_state_dict_from_url", offline)
    done = score(pictures(9), pictures(9), "extractor=inception-v3-compat", status=1)
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "weights-inception-2015-12-05-6726825d.pth" in line  # which file
    assert "weights=FILE" in line  # the option that takes it


@pytest.fixture(scope="module")
def inception(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    random_inception.write(str(path))
    return str(path)


@pytest.mark.slow
def test_inceptions_spatial_features_are_guided_diffusions(inception):
    shown = pictures(3, size=64)
    features = feature_network("inception", inception).features(shown)
    layers = ["2048", "logits_unbiased"]
    net = FeatureExtractorInceptionV3("mine", layers, feature_extractor_weights_path=inception)
    x = torch.from_numpy(shown.transpose(0, 3, 1, 2).copy())
    captured = []
    net.Mixed_6d.register_forward_hook(lambda module, inputs, output: captured.append(output))
    pool, logits = net(x)
    # The first branch's channels come first in block 6d's output; guided-diffusion has channels
    # last, so that (17, 17, 7) is flattened.
    spatial = captured[0][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).reshape(3, -1)
    assert spatial.shape == (3, 2023)
    assert np.allclose(features["spatial"], spatial, rtol=1e-4, atol=1e-4)
    assert np.allclose(features["pool"], pool, rtol=1e-4)
    assert np.allclose(features["logits"], logits, rtol=1e-4, atol=1e-4)
    assert (features["spatial"] >= 0).all() and (features["spatial"] > 0).any(), "after the ReLU"


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet's, in milliseconds: covariances of a few pictures have a low rank."""
    means = np.square(a.mean(0) - b.mean(0)).sum()
    a, b = ((x.astype(np.float64) - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    roots = np.linalg.svd(a @ b.T, compute_uv=False)
    return means + np.square(a).sum() + np.square(b).sum() - 2 * roots.sum()


@pytest.mark.slow
def test_inception_scores_two_files_with_guided_diffusions_statistics(score, inception):
    fake, real = pictures(8, seed=1), pictures(12, seed=2)
    overrides = ["extractor=inception", f"weights={inception}"]
    score(fake, real, *overrides)
    found = scores(Path("rows.json"))
    names = {"fid", "sfid", "precision", "recall", "density", "coverage", "kid", "inception_score"}
    assert found.keys() == names
    network = feature_network("inception", inception)
    ours, theirs = network.features(fake), network.features(real)
    expected = distance(ours["spatial"], theirs["spatial"])
    assert found["sfid"] == pytest.approx(expected, rel=1e-5)
    pool, spatial = statistics(theirs["pool"]), statistics(theirs["spatial"])
    # The same from the statistics of guided-diffusion's file as from the images.
    stored = dict(zip(("mu", "sigma", "mu_s", "sigma_s"), (*pool, *spatial), strict=True))
    np.savez("adm.npz", arr_0=real, **stored)
    score(fake, real, *overrides, "reference=adm.npz")
    assert scores(Path("rows.json")) == pytest.approx(found, rel=1e-4)


@pytest.mark.slow
def test_two_processes_draw_what_one_does(run, command, tiny_extractor, monkeypatch):
    run = run()
    overrides = settings(f"run={run}", "eval=fidelity", "n=600", "steps=1", "accelerator=cpu")
    alone = [*overrides, *settings(f"extractor={tiny_extractor}", "cache=cache")]
    command("evaluate.py", *alone)
    before = [np.load(path)["arr_0"] for path in sorted(KEPT.glob("*/samples*/*.npz"))]
    Path("data").rename("put-aside")
    # Python runs this file at the start of every process: our extractor is in the registry.
    Path("sitecustomize.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import conftest\n"
        "from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as known\n"
        "known['tiny'] = conftest.TinyExtractor\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    both = [sys.executable, str(ROOT / "evaluate.py"), *alone, "devices=2"]
    done = subprocess.run(both, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fidelity of run") == 1
    after = [np.load(path)["arr_0"] for path in sorted(KEPT.glob("*/samples*/*.npz"))]
    assert len(after) == len(before) == 2
    for a, b in zip(after, before, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1
