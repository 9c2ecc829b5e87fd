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
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpi.errors import Terminated, UserError
from dpi.groups import CONFIGS, register_groups, registered
from dpi.processes import PARENT, end_with_parent
from dpi.progress import bars_closed
from dpi.runs.identity import flatten, settings, suffix

ENVIRONMENT = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Errors that are the user's to repair, not the program's."""


def register_resolvers() -> None:
    """Make the resolvers that the files in configs/ use known to OmegaConf.

    ${stem:path}            the last part of a path, without its suffix
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
        "stem": lambda path: Path(str(path)).stem,
        "images": lambda name, path: Path(path).stem if name == "ImageFolder" else name,
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
    if os.environ.get("LOCAL_RANK", "0") != "0":
        end_with_parent()
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    handler = signal.signal(signal.SIGTERM, _terminate)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises; else it prints and exits by itself
    os.environ[PARENT] = str(os.getpid())
    try:
        with one_line():
            main()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {_explain(error, name)}")
    except Exception as error:
        if "Config group override must be" in str(error):  # Hydra's, a bare ValueError
            sys.exit(f"error: a config group is null: name an option, see python {name}.py --help")
        # The jobs of a sweep catch their own; this is a launcher, or a process that died.
        if not any(word in ("-m", "--multirun") or word.startswith("sweep=") for word in sys.argv):
            raise
        line = " ".join(str(error).split())[:200] or type(error).__name__
        sys.exit(f"error: the launcher stopped: {line}; the same command resumes the sweep")
    finally:
        del os.environ["HYDRA_FULL_ERROR"], os.environ[PARENT]
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what the user can fix, or has stopped, into one line on stderr.

    Nothing is said where stdout is read no longer. The exit status is 1; 130 after
    Ctrl-C and 143 after SIGTERM, as a shell has them.
    """
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
    """The text of --help: configs/NAME.yaml, groups.yaml and the files of its groups."""
    text = (CONFIGS / f"{name}.yaml").read_text()
    head, _, body = text.partition("defaults:\n")
    groups = _groups(body)
    body = re.sub(r"^( +-.*\n)*", "", body)
    own = re.split(r"^# .*\nhydra:|^hydra:", body, flags=re.MULTILINE)[0].strip()
    parts = [re.sub("^# ?", "", head, flags=re.MULTILINE).strip(), "Keys\n", own]
    for group in groups:
        for path in sorted((CONFIGS / group).glob("*.yaml")):
            parts.append(f"# {group}={path.stem}\n{path.read_text().strip()}")
    if "effort" in groups:
        parts.append((CONFIGS / "groups.yaml").read_text().strip())
    return "\n\n".join(parts).replace("$", "$$")  # Hydra substitutes $NAMES


def _explain(error: Exception, name: str) -> str:
    """One line on an error of Hydra or OmegaConf that says what to do."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: this cannot be parsed; see python {name}.py --help"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]}: for a sweep over these values add -m"
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
    """All keys and groups that a command takes, as the files in configs/ have them."""
    body = (CONFIGS / f"{name}.yaml").read_text()
    groups = set(_groups(body))
    keys = [*groups, *_leaves(body)]
    for group in sorted(groups):
        for path in (CONFIGS / group).glob("*.yaml"):
            text = path.read_text()
            prefix = "" if "@package _global_" in text else f"{group}."
            keys += [f"{prefix}{key}" for key in _leaves(text)]
        for option in registered(group).values() if group != "sweep" else []:
            keys += [f"{group}.{key}" for key in flatten(option)]
    return sorted(set(keys))


def _groups(text: str) -> list[str]:
    """The config groups in the defaults list of a file."""
    return re.findall(r"^ +- (?:optional )?([a-z]+)(?:@\w+)?:", text, re.MULTILINE)


def _leaves(text: str) -> list[str]:
    node = yaml.safe_load(text) or {}
    skipped = ("defaults", "hydra")
    return [key for key in flatten(node) if key and key.split(".")[0] not in skipped]


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
