"""Runs the real entry points on a network that trains in a second; opens pages in a browser."""

import gc
import importlib.util
import os
import re
import resource
import runpy
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig
from PIL import Image

from dpi.cli import register_resolvers
from dpi.experiment import train
from dpi.training import datamodule

ROOT = Path(__file__).parents[1]
CONFIGS = Path(__file__).parent / "configs"

# Small networks: threads cost more than they bring, above all where other tests run beside, also in
# the processes that tests start. Looking for garbage among all that is imported takes a tenth of a
# command's time, and a hundred validation batches take a second.
torch.set_num_threads(1)
gc.set_threshold(50_000)
os.environ["OMP_NUM_THREADS"] = "1"
datamodule.VAL_SCALARS = 10

# However slow the machine is.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def composed(*overrides: str, run: str | None = "it") -> DictConfig:
    """train.yaml as Hydra composes it, of no evaluations; run=None for the name that it gives."""
    register_resolvers()
    GlobalHydra.instance().clear()
    words = [*overrides, "eval=[]", *([f"run={run}"] if run else [])]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def image_folder(path: str | Path, count: int, first: int = 0) -> Path:
    """A new folder of images of 8x8; the same number gives the same image."""
    Path(path).mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(first + i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(Path(path, f"{i:02}.png"))
    return Path(path)


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """A limit on the size of files fails a write like a full disk, without privileges."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def module(path: str) -> ModuleType:
    """A file of this repository that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    def one_line(self) -> str:
        """The only line that is an error, or anything but a bar."""
        bar = re.compile(r"\d% \d+/\d+ \[")
        (line,) = [of for of in self.err.splitlines() if of.strip() and not bar.search(of)]
        assert self.status and line.startswith("error: "), self
        return line


@pytest.fixture
def command(capfd, monkeypatch, tmp_path) -> Callable[..., Done]:
    """Run an entry point as the command line would, in this process.

    It has to end with the status, None being any; or, with `error`, with status 1 and this text.
    """
    monkeypatch.chdir(tmp_path)

    def run(script: str, *arguments: str, status: int | None = 0, error: str = "") -> Done:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
        capfd.readouterr()
        found, handler = 0, signal.getsignal(signal.SIGTERM)
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as exit_:
            found = exit_.code if isinstance(exit_.code, int) else 1
            if isinstance(exit_.code, str):
                print(exit_.code, file=sys.stderr)
        finally:
            signal.signal(signal.SIGTERM, handler)
        done = Done(found or 0, *capfd.readouterr())
        assert (1 if error else status) in (None, done.status), done
        assert error in done.err and not (error and "Traceback" in done.err), done.err
        return done

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> list[str]:
    """The arguments for a run of three steps on a few 8x8 avatars, see configs/scale/tiny.yaml."""
    cache = tmp_path_factory.mktemp("cache")
    return [
        *("--config-dir", str(CONFIGS)),
        "scale=tiny",
        "trainer=cpu",
        "data=avatars",
        "data.count=40",
        "data.held_out=8",
        f"data.cache_dir={cache}",
    ]


@pytest.fixture(scope="session")
def own(tiny) -> list[str]:
    """The same without a data set."""
    return [word for word in tiny if not word.startswith(("data=", "data.count="))]


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """trained(framework, arch, cond): the folder of a finished run, made once."""
    register_resolvers()
    place = tmp_path_factory.mktemp("runs")

    def make(framework: str, arch: str, cond: str) -> Path:
        folder = place / f"{framework}-{arch}-{cond}"
        if not folder.exists():
            words = [f"framework={framework}", f"arch={arch}", f"cond={cond}", f"run={folder}"]
            train([*words, *tiny[2:], f"hydra.searchpath=[file://{CONFIGS}]"])
        return folder

    return make


@pytest.fixture
def run(trained, command, tmp_path):
    """run(framework, arch, cond): a copy of a finished run of its own, beside the test."""

    def copy(framework: str = "diffusion", arch: str = "drunet", cond: str = "dpi") -> Path:
        shutil.copytree(trained(framework, arch, cond), tmp_path / "run")
        return Path("run")

    return copy


@pytest.fixture(scope="module")
def browser():
    """Chromium, or the browser that playwright brings."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=path)
        except playwright.Error:
            pytest.skip("no browser: install chromium, or `playwright install chromium`")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a page; nothing may be asked of a network, nothing may go wrong in it."""
    pages, asked, wrong = [], [], []

    def open_(address):
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        pages.append(page)
        return page

    yield open_
    assert not [url for url in asked if not re.match("(file|data):", url)]
    assert not wrong
    for page in pages:
        page.close()
