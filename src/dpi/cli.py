"""What the entry points share: resolvers, --help, and mistakes reported in one line."""

import difflib
import errno
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpi.described import described
from dpi.errors import Terminated, UserError
from dpi.groups import CONFIGS, GLOBAL, register_groups, registered
from dpi.processes import end_with_parent
from dpi.progress import bars_closed
from dpi.runs.files import cache_dir
from dpi.runs.identity import as_typed, flatten, plain_name, settings, suffix

ENVIRONMENT = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Errors that are the user's to repair, not the program's."""


def register_resolvers() -> None:
    """Make the resolvers that the files in configs/ use known to OmegaConf.

    ${stem:path}            the last part of a path, without its suffix, as a plain name
    ${images:set,path}      the data set of torchvision, or the folder's name if it is any folder
    ${choice:group}         the option chosen for a config group, e.g. `drunet` for arch
    ${settings:}            what distinguishes this run from the default of its kind
    ${suffix:}              the same as the end of the run's name
    ${cuda:a,b}             a if there is a CUDA device, else b
    ${wandb_offline:}       whether Weights & Biases would have to ask for a key
    ${wandb_id:run}         the id of the W&B run in a run's folder; null if there is none
    ${help:name}            the text of --help
    """
    resolvers = {
        "stem": _stem,
        "images": lambda name, path: _stem(path) if name == "ImageFolder" else name,
        "choice": lambda group: HydraConfig.get().runtime.choices[group],
        "settings": settings,
        "suffix": suffix,
        "cuda": _cuda,
        "wandb_offline": _wandb_offline,
        "wandb_id": _wandb_id,
        "help": help_text,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    register_groups()


def run(main: Callable[[], None], name: str) -> None:
    """Run a Hydra entry point; a mistake on the command line is one line and exit status 1.

    Args:
        main: decorated by hydra.main.
        name: of its configuration, such as "train".
    """
    register_resolvers()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        signal.signal(signal.SIGTERM, _terminate)
    else:
        end_with_parent()
    # Shells expand ~ in front of a word alone.
    sys.argv = [re.sub("^([^=]+='?)~(?=/|$)", rf"\g<1>{Path.home()}", word) for word in sys.argv]
    if "DPI_CACHE" in os.environ:
        os.environ["DPI_CACHE"] = str(cache_dir())
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises; else it prints and exits by itself
    try:
        with one_line():
            _refuse_dashes(name)
            main()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {_explain(error, name)}")
    except Exception as error:
        if "Config group override must be" in str(error):  # Hydra's, a bare ValueError
            sys.exit(f"error: a config group is null: name an option, see python {name}.py --help")
        if "Only one of --run" in str(error):  # likewise
            sys.exit("error: -m, --cfg and --info exclude each other: give one of them")
        # The jobs of a sweep catch their own; this is a launcher, or a process that died.
        if not any(word in ("-m", "--multirun") or word.startswith("sweep=") for word in sys.argv):
            raise
        line = " ".join(str(error).split())[:200] or type(error).__name__
        sys.exit(f"error: the launcher stopped: {line}; the same command resumes the sweep")


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what the user can fix, or has stopped, into one line on stderr.

    Nothing is said where stdout is read no longer. The exit status is 1; 130 after
    Ctrl-C and 143 after SIGTERM, as a shell has them.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # it may not have λ and ±
    try:
        with bars_closed():
            yield
            sys.stdout.flush()
    except UserError as error:
        sys.exit(f"error: {error}")
    except (InstantiationException, OmegaConfBaseException) as error:
        sys.exit(f"error: {_first_lines(error)}")
    except BrokenPipeError:
        if _is_read():
            raise
        # As the note on SIGPIPE in https://docs.python.org/3/library/signal.html has it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror}")
    except Terminated as error:
        if error.message:
            print(f"error: {error.message}", file=sys.stderr)
            error.message = ""  # said
        raise
    except KeyboardInterrupt:
        print("\nerror: interrupted", file=sys.stderr)
        sys.exit(130)


def _is_read() -> bool:
    """Whether stdout is no pipe, or one whose reader has not ended, as `head` does."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return not poll.poll(0)


def _terminate(*_: Any) -> None:
    raise Terminated("SIGTERM: stopped; the same command resumes from what was saved")


def help_text(name: str) -> str:
    """The text of --help: configs/NAME.yaml, and the options of its groups, as the files have them
    with their comments."""
    parts = [(CONFIGS / f"{name}.yaml").read_text().partition("\nhydra:")[0].rstrip()]
    groups = _groups(name)
    for group, package in {"cond": "conditioning", "arch": "architectures"}.items():
        if group in groups:
            about = described(package).items()
            parts.append("\n".join(f"# {group}={x}: {label}, {does}" for x, (label, does) in about))
    for group in groups:
        for path in sorted((CONFIGS / group).glob("*.yaml")):
            parts.append(f"# {group}={path.stem}\n{path.read_text().rstrip()}")
    if "effort" in groups:
        parts.append((CONFIGS / "groups.yaml").read_text().rstrip())
    return "\n\n".join(parts).replace("$", "$$")  # Hydra substitutes $NAMES


def _refuse_dashes(name: str) -> None:
    for word, after in pairwise([*sys.argv[1:], ""]):
        key, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and key not in ("run", "help") and key in _keys(name):
            raise UserError(f"{word}: keys have no dashes, write {key}={value or after}")


def _explain(error: Exception, name: str) -> str:
    """One line on an error of Hydra or OmegaConf that says what to do."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        if Path(error.override).exists():
            key = "data.path" if name == "train" else "run"
            return f"{error.override}: did you mean {as_typed(key, error.override)}?"
        typed = as_typed(*str(error.override).partition("=")[::2])
        return f"{error.override}: this cannot be parsed; is it {typed}?"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        typed = as_typed(*ambiguous[1].partition("=")[::2])
        return f"{ambiguous[1]}: for a sweep over these values add -m; if it is one, give {typed}"
    if option := re.search(r"Could not (?:find|load) '(\w+)/([^']*)'", text):
        folders = [Path(folder, option[1]) for folder in re.findall("path=file://(.*)", text)]
        files = {path.stem for folder in folders for path in folder.glob("*.yaml")}
        options = sorted(files | set(registered(option[1])))
        return f"{option[1]}={option[2]}: choose from {', '.join(options)}"
    if unknown := re.search(r"Could not (?:override|find) '([^']+)'", text):
        return _suggest(unknown[1], name)
    return _first_lines(error)


def _first_lines(error: Exception) -> str:
    lines = str(error).splitlines() + str(error.__cause__ or "").splitlines()
    return "; ".join(line.strip() for line in lines[:2] if line.strip())


def _suggest(key: str, name: str) -> str:
    """What to write in place of a key that does not exist."""
    keys = [other for other in _keys(name) if other != key]  # an experiment may add it
    last = key.rpartition(".")[2]
    near = difflib.get_close_matches(key, keys, 1, 0.75)
    near = near or [other for other in keys if other.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(key, keys, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"see python {name}.py --help"
    if key.startswith("trainer."):
        hint += f" An option of Lightning's Trainer that is not listed is set with +{key}="
    return f"there is no key {key}: {hint}"


def _keys(name: str) -> list[str]:
    """All keys and groups that a command takes, its own first, as configs/ has them."""
    groups = _groups(name)
    keys = [*_leaves(CONFIGS / f"{name}.yaml"), *groups]
    for group in groups:
        for path in (CONFIGS / group).glob("*.yaml"):
            is_global = "@package _global_" in path.read_text()
            keys += [key if is_global else f"{group}.{key}" for key in _leaves(path)]
        for option in registered(group).values() if group not in GLOBAL else []:
            keys += [f"{group}.{key}" for key in flatten(option)]
    return keys


def _groups(name: str) -> list[str]:
    """The config groups that a command takes."""
    defaults = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["defaults"]
    keys = (key for entry in defaults if isinstance(entry, dict) for key in entry)
    groups = (key.removeprefix("optional ").partition("@")[0] for key in keys)
    return [group for group in groups if not group.startswith("override ")]


def _leaves(path: Path) -> list[str]:
    node = yaml.safe_load(path.read_text()) or {}
    return list(flatten({k: v for k, v in node.items() if k not in ("defaults", "hydra")}))


def _stem(path: Any) -> str:
    return plain_name(Path(os.path.abspath(str(path))).stem)


def _cuda(yes: str, no: str) -> str:
    import torch  # takes seconds, and many commands need none of it

    return yes if torch.cuda.is_available() else no


def _wandb_offline() -> bool:
    netrc = Path.home() / ".netrc"
    return not (
        os.environ.get("WANDB_API_KEY") or (netrc.exists() and "wandb" in netrc.read_text())
    )


def _wandb_id(run: str) -> str | None:
    # Weights & Biases names the folder of a session [offline-]run-DATE_TIME-ID.
    sessions = [path.name.partition("run-")[2] for path in Path(run).glob("wandb/*run-*-*")]
    return max(sessions).partition("-")[2] if sessions else None
