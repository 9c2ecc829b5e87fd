"""Bad input is answered in one line and a status that is not 0; every file stays as it was."""

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

RUNS = ["list_for_dict", "number_for_tensor", "no_split", "no_keys", "no_yaml", "resolver"]


def picture(seed: int = 0, size: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8))


def folder(name: str, **odd: bytes) -> None:
    Path(name).mkdir()
    for i in range(12):
        picture(i).save(Path(name, f"{i}.png"))
    for stem, content in odd.items():
        Path(name, f"{stem}.png").write_bytes(content)


def images() -> None:
    """Sets of images that cannot be used."""
    Path("empty").mkdir()
    folder("small")
    folder("text", x=b"not an image")
    shutil.make_archive("good", "zip", "small")
    content = Path("good.zip").read_bytes()
    odd = bytearray(content)
    for magic, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):  # where the compression is named
        first = odd.find(magic)
        while first >= 0:
            odd[first + at : first + at + 2] = struct.pack("<H", 99)
            first = odd.find(magic, first + 4)
    Path("method99.zip").write_bytes(odd)
    with zipfile.ZipFile("names.zip", "w") as file:
        file.writestr("é.png", b"")  # its name is marked as UTF-8
    Path("names.zip").write_bytes(Path("names.zip").read_bytes().replace("é".encode(), b"\xff\xfe"))
    np.savez("alpha.npz", arr_0=np.zeros((20, 8, 8, 4), np.uint8))
    np.savez("one.npz", arr_0=np.zeros((1, 8, 8, 3), np.uint8))
    np.savez("objects.npz", arr_0=np.array([{}], object))
    with zipfile.ZipFile("huge.npz", "w") as file:
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 8, 8, 3), }"
        header = header.ljust(117).encode() + b"\n"
        file.writestr("arr_0.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)


def runs() -> None:
    """Runs that are damaged, copies of `run`."""
    for name in RUNS:
        shutil.copytree("run", name)
    for name, key, value in (
        ("list_for_dict", "state_dict", []),
        ("number_for_tensor", "state_dict", {"network.theta0.head.weight": 1.0}),
    ):
        path = Path(name, "last.ckpt")
        torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    Path("no_split/split.json").unlink()
    Path("no_keys/config.yaml").write_text("seed: 0\n")
    Path("no_yaml/config.yaml").write_text("a: [\n")
    config = Path("resolver/config.yaml")
    config.write_text(config.read_text() + 'other: "\\x24{oc.env:HOME}"\n')


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place") / "it"


@pytest.fixture
def here(command, place, trained, monkeypatch):
    """The working directory, made once: no test changes a file in it."""
    if new := not place.exists():
        place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("DPI_CACHE", str(place.parent / "cache"))
    if new:
        shutil.copytree(trained("diffusion", "drunet", "dpi"), "run")
        Path("outputs/demo").mkdir(parents=True)
        shutil.copy("run/config.yaml", "outputs/demo")
        Path("README.md").write_text("# Mine\n")
        Path("bad.csv").write_text("a,b\n1,2\n")
        for name in ("cache", "jobs"):
            Path("data", name).mkdir(parents=True)
        images()
        runs()
    return place


def files(place: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


SHORT = {
    "FOLDER": "data=folder data.path=",
    "NPZ": "data=npz data.path=",
    "TWO": "trainer=ddp trainer.accelerator=cpu trainer.devices=2",
}
OBJECTIVE = "run=run eval=objective eval.objective.pictures=4 eval.objective.t=[0] accelerator=cpu"
FIDELITY = "eval=fidelity accelerator=cpu eval.fidelity.samples="

BAD = {
    "train.py": """
        cond=mlp                                | arch=adm
        cond=ncsnv2 framework=flow              | cond=tmap
        cond=clairvoyance                       | cond=clairvoyance: choose from dpi
        cond=null                               | a config group is null
        conds=dpi                               | did you mean cond=
        training=3                              | training
        trainer.limit_val_batches=2             | batches: did you mean trainer.accum
        training.lrr=1                          | did you mean training.lr=
        +training.warmup=1                      | training.warmup
        training.lr=[1                          | training.lr=[1
        data.path=photos(1)                     | cannot be parsed; is it "data.path='photos(1)'"?
        data.path=a,b                           | if it is one, give "data.path='a,b'"
        hydra.mode=MULTIRUN hydra.sweep.dir=data | hydra.sweep.dir=data is of another sweep
        training.lr=${nothing}                  | nothing
        training.lr=${oc.env:NO_SUCH_NAME}      | NO_SUCH_NAME
        training.lr=-1                          | training.lr=-1
        training.lr=nan                         | training.lr
        training.steps=many                     | training.steps=many
        training.ema_decay=2                    | training.ema_decay=2
        training.ema_halflife=100               | give one of them
        training.lr_schedule=linear             | training.lr_schedule=linear
        training.lr_schedule=rsqrt              | decay_steps=null: constant takes null, and rsqrt
        training.lr_schedule=cosine training.lr_decay_steps=2 | are taken: give more
        training.loss_weighting=p2              | training.loss_weighting=p2
        training.loss_weighting=min_snr framework=flow | use null or uncertainty
        training.distinct_scalars=9             | distinct_scalars
        training.stratified=banana              | training.stratified=banana
        training.show.num_steps=2000            | training.show.num_steps
        training.show.num_steps=3               | training.show.num_steps=3: DDIM takes equal
        eval=[samples] eval.samples.steps=3     | eval.samples.steps=3: DDIM takes equal
        training.show.keep_ema=[2]              | training.show.keep_ema
        seed=-1                                 | seed
        image_size=9                            | multiples of 2
        image_size=65536                        | image_size=65536
        arch.channels=[]                        | channels
        arch._target_=nowhere.Network           | No module named 'nowhere'; put its folder on
        +arch.depth=3                           | depth
        cond.schedule=curved                    | schedule
        cond.include=[nothing]                  | nothing
        cond.mode=one_pass                      | mode must be 'auto' or 'grouped', got 'one_pass'
        cond=lowrank                            | cond=lowrank: choose from dpi, dpi+film,
        framework.precondition=maybe            | framework.precondition=maybe
        +framework.gamma=1                      | gamma
        trainer.precision=bf16-true             | trainer.precision=bf16-true
        trainer.accelerator=abacus              | trainer
        trainer.devices=0                       | trainer
        +trainer.strategy=banana                | strategy
        TWO trainer.strategy=fsdp               | error: trainer.strategy=fsdp:
        TWO trainer.strategy=ddp_spawn          | error: trainer.strategy=ddp_spawn:
        trainer.accumulate_grad_batches=3       | micro-batches
        trainer.gradient_clip_algorithm=value   | +trainer.gradient_clip_algorithm=
        trainer.gradient_clip_val=1 trainer.precision=16-mixed | trainer.precision=bf16-mixed
        tag=a/b                                 | tag=a/b
        names.data=a/../b                       | names.data
        names.scale=null                        | names.scale=null: is part of a folder's name
        run=README.md/x                         | README.md/x
        run=                                    | run
        run=outputs                             | run=outputs
        data=ffhq64                             | prepare_ffhq.py
        data.count=300.5                        | data.count=300.5
        data.held_out=0                         | data.held_out=0
        data.held_out=40                        | data.held_out=40
        image_channels=1 arch.out_channels=3    | the network's output has shape (2, 3, 8, 8)
        image_channels=4 data=npz data.path=alpha.npz eval=[fidelity] | extractor=pixels
        data.split_seed=-1                      | data.split_seed
        data.cache_dir=README.md                | README.md
        data.cache_dir=null                     | data.cache_dir
        data=folder                             | data.path
        FOLDER                                  | data.path=: String should have at least 1 char
        FOLDERnowhere                           | nowhere does not exist
        FOLDERsmall data.held_out=12            | data.held_out=12
        FOLDERtext                              | x.png cannot be read as an image: it is no PNG
        FOLDERmethod99.zip                      | method99.zip
        FOLDERnames.zip                         | names.zip
        training.init_from=                     | training.init_from=: String should have
        data.cache_dir=                         | data.cache_dir=: String should have
        NPZobjects.npz                          | objects.npz
        NPZhuge.npz                             | huge.npz
        eval=[denoizing]                        | eval=denoizing: choose from complexity, denoising
        eval=[denoising] eval.denoising.pictures=9 | 8 images are held out
        eval=[denoising] eval.denoising.t=5     | eval.denoising.t=5
        eval=[denoising] eval.denoising.pictures=few | eval.denoising.pictures=few
        +augment=true                           | augment: there is no such setting
        +data.augment=true                      | data.augment: nothing reads it
        +effort.picture=3                       | effort.picture: there is no such setting
        framework.num_scalars=0                 | give two or more scalars
        framework.beta_max=2                    | and betas between 0 and 1
        framework=flow framework.num_scalars=1  | num_scalars=1: give two or more
        steps=60                                | did you mean training.steps=
        training.init=run                       | did you mean training.init_from=
        training.init_from=nowhere              | training.init_from=nowhere: nowhere does not exist
        run                                     | did you mean data.path=run?
        --experiment demo                       | did you mean experiment=
        -m --cfg job                            | exclude each other
        --cfg nonsense                          | --cfg=nonsense: give job or hydra or all
        --config-dir                            | --config-dir=: give a value
        -m seed=0,1                             | seed=0,1: write settings together, behind options
        --steps 60                              | without dashes; did you mean training.steps=
        demo                                    | did you mean experiment=demo?
        seed                                    | did you mean seed=...?
        nowhere.zip                             | nowhere.zip: settings are KEY=VALUE, see --help
        stepps=3                                | did you mean training.steps=
        eval=[denoising] effort.pictures=5      | did you mean eval.denoising.pictures=
        eval.denoising.pictures=5               | choose eval=[denoising], too
        cond=dpi,tmap                           | cond=dpi,tmap: for a sweep over these
        arch.channels=4,8                       | if it is one, give arch.channels=[4,8]
        ~data                                   | ~data: this is needed
        ~training.lr                            | ~training.lr: this is needed
        training=null                           | training=null: this is a section; set training.
        training.show=3                         | training.show=3: this is a section
        eval=[denoising] eval.denoising.t=[1000] eval.denoising.pictures=4 | 0 to 999
        eval=[denoising] eval.denoising.picture=1 | did you mean eval.denoising.pictures=
        eval=[objective] eval.objective.pictures=4 effort.scalars=0 | scalars=0
        eval=[fidelity] eval.fidelity.n=2000000000 | eval.fidelity.n=2000000000
        eval=[fidelity] eval.fidelity.n=1       | eval.fidelity.n=1
        eval=[fidelity] eval.fidelity.extractor=pixels eval.fidelity.samples=small | in evaluate.py
        eval=[fidelity] eval.fidelity.extractor=pixels eval.fidelity.reference=alpha.npz | 8x8x4
        experiment=comparison experiment=check  | experiment= is given twice
        eval=[fidelity] eval.fidelity.extractor=eyes | choose from inception, pixels
        eval=[fidelity] eval.fidelity.reference=none.npz | fidelity.reference=none.npz
        eval=[samples] eval.samples.solver=warp | warp
        eval=[samples] eval.samples.steps=0     | eval.samples.steps=0
        eval=[complexity] +eval.complexity.foo=1 | foo
    """,
    "evaluate.py": f"""
                                                | eval= is missing
        eval=everything                         | eval=everything: choose from
        eval=objective                          | run= is missing
        eval=objective run=nowhere              | nowhere is not a run
        eval=objective run=nowhere*             | no run matches
        eval=objective run=no_keys              | no_keys/config.yaml
        eval=objective run=no_yaml              | no_yaml/config.yaml
        eval=objective run=resolver             | resolver/config.yaml has ${{...}} in a value
        {OBJECTIVE} run=no_split                | no_split/split.json
        {OBJECTIVE} checkpoint=../last.ckpt     | checkpoint=../last.ckpt
        {OBJECTIVE} checkpoint=best.ckpt        | run/best.ckpt: choose from last.ckpt
        {OBJECTIVE} run=list_for_dict           | list_for_dict/last.ckpt
        {OBJECTIVE} run=number_for_tensor       | number_for_tensor/last.ckpt
        {OBJECTIVE} checkpoint=bset.ckpt        | no checkpoint run/bset.ckpt: choose from last.ckpt
        {OBJECTIVE} pictures=3                  | did you mean eval.objective.pictures=
        {OBJECTIVE} samples                     | did you mean eval=[samples]?
        run=run eval=denoising,objective        | if it is one, give eval=[denoising,obj
        {OBJECTIVE} precision=odd               | should be '32-true'
        {OBJECTIVE} accelerator=abacus          | accelerator
        {OBJECTIVE} devices=0                   | devices
        {OBJECTIVE} unfinished=maybe            | unfinished=maybe
        {OBJECTIVE} out=run                     | out=run: is a folder: give a path in it
        {OBJECTIVE} out=README.md/x.json        | README.md is a file, not a folder
        {OBJECTIVE} out=README.md               | README.md: exists and is no file of rows
        {OBJECTIVE} +mine=1                     | mine: there is no such setting
        {OBJECTIVE} data.path=small             | data_path
        {OBJECTIVE} eval.objective.t=[1000]     | 0 to 999
        {OBJECTIVE} eval.objective.pictures=9   | pictures=8
        {OBJECTIVE} +eval.objective.foo=4       | eval.objective.foo
        run=run eval=complexity eval.complexity.repeats=0 | repeats
        run=run eval=fidelity eval.fidelity.n=2000000000 accelerator=cpu | n=2000000000
        run=run eval=samples eval.samples.solver=5 accelerator=cpu | solver
        run=run {FIDELITY}one.npz               | no run=
        {OBJECTIVE} data_path=                  | data_path=: String should have
        {FIDELITY}/dev/zero eval.fidelity.reference=one.npz eval.fidelity.extractor=pixels | neither
        {FIDELITY}nowhere.npz                   | eval.fidelity.samples=nowhere.npz
        {FIDELITY}one.npz                       | eval.fidelity.reference= is missing
        {FIDELITY}one.npz eval.fidelity.reference=README.md eval.fidelity.extractor=eyes | choose
    """,
    "sample.py": """
                                                | run
        run=nowhere                             | nowhere is not a run
        run=run n=0                             | n=0
        run=run n=2000000000 device=cpu         | n=2000000000
        run=run steps=1001                      | steps=1001
        run=run solver=warp device=cpu          | warp
        run                                     | did you mean run=run?
        run/last.ckpt                           | did you mean run=run?
        run=run/last.ckpt                       | did you mean run=run?
        --run=run                               | settings are KEY=VALUE, without dashes
        -n 64 run=run                           | -n: settings are KEY=VALUE
        run=demo                                | did you mean run=outputs/demo?
        run=run device=meta                     | device=meta
        run=run device=cuda:99                  | device=cuda:99
        run=run device=cpu n=1 out=README.md/x  | README.md
        run=run output=x                        | did you mean out=
    """,
    "report.py": """
        runs=nowhere                            | nowhere
        outputs                                 | did you mean runs=outputs?
        runs=bad.csv                            | bad.csv
        runs=empty                              | empty holds no runs
        runs=. data=none | no runs of these data= and scale=: choose data=avatars scale=tiny
        runs=. out=README.md                    | README.md
        run=run                                 | did you mean runs=
        runs=run                                | run is a run: give its parent, runs=
    """,
    "status.py": """
        nowhere                                 | nowhere holds no runs
        README.md                               | README.md
        run                                     | run is a run: give its parent, python status.py .
        a b                                     | one folder at most
        runs=run                                | python status.py run
    """,
    "scripts/near_duplicates.py": """
        nowhere list.txt                        | nowhere does not exist
        small README.md                         | README.md already exists
    """,
    "scripts/prepare_ffhq.py": """
        nowhere                                 | nowhere does not exist
        small                                   | contains 12 images, not 70000
        small --count 11                        | contains 12 images, not 11
        small --count 12 --out README.md/x.zip  | README.md
    """,
    "scripts/reference_stats.py": """
        small README.md                         | README.md already exists
        small stats.npz --extractor eyes        | choose from inception, pixels
        small stats.npz --weights README.md     | README.md
    """,
    "scripts/conditioning.py": """
        bad.csv                                 | bad.csv
    """,
}


def cases():
    for script, lines in BAD.items():
        for line in filter(None, map(str.strip, lines.splitlines())):
            for short, words in SHORT.items():
                line = line.replace(short, words)
            words, _, said = line.rpartition("|")
            yield pytest.param(script, words.split(), said.strip(), id=f"{script} {words.strip()}")


@pytest.mark.parametrize(("script", "words", "said"), list(cases()))
def test_bad_input_is_one_line_and_changes_nothing(command, here, tiny, script, words, said):
    if script == "train.py":
        own = tiny if "data=" not in " ".join(words) else [w for w in tiny if "count" not in w]
        words = [*own, "run=new", *words]
    before = files(here)
    done = command(script, *words, status=None)
    assert said in done.one_line(), done
    after = files(here)
    assert after.keys() == before.keys(), after.keys() ^ before.keys()
    assert after == before
