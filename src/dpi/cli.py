"""What the entry points share: resolvers, --help, and mistakes reported in one line."""

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

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpi.described import described
from dpi.errors import Terminated, UserError
from dpi.groups import CONFIGS, groups_of, register_groups
from dpi.mistakes import check_words, explain, first_lines
from dpi.processes import end_with_parent
from dpi.progress import bars_closed
from dpi.runs.files import cache_dir
from dpi.runs.identity import plain_name, settings, suffix

ENVIRONMENT = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""Errors that are the user's to repair, not the program's."""


def register_resolvers() -> None:
    """Make the resolvers that the files in configs/ use known to OmegaConf.

    ${stem:path}            the last part of a path, without its suffix, as a plain name
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
            check_words(name, sys.argv[1:])
            main()
    except Exception as error:
        if explained := explain(error, name, sys.argv[1:]):
            sys.exit(f"error: {explained}")
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
        sys.exit(f"error: {first_lines(error)}")
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
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which is not imported here
            raise
        sys.exit("error: out of memory: give a smaller batch_size= or eval.NAME.batch_size=")
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
    """The text of --help: configs/NAME.yaml with its comments, the options of its groups, and what
    those set that the command line chooses."""
    parts = [(CONFIGS / f"{name}.yaml").read_text().partition("\nhydra:")[0].rstrip()]
    sections = (CONFIGS / "groups.yaml").read_text().split("\n\n")
    chosen = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    loader, files = GlobalHydra.instance().config_loader(), []
    if groups := groups_of(name):
        parts.append(f"# Options; python {name}.py GROUP=OPTION --help also prints what one sets")
    for group in groups:
        options = loader.get_group_options(group)
        parts[-1] += f"\n#   {group:<12}{', '.join(options)}"
        words = re.split(r"[][,+]", chosen.get(group, ""))
        for option in filter(words.__contains__, options):
            path = CONFIGS / group / f"{option}.yaml"
            if path.exists():
                files.append(f"# {group}={option}\n{path.read_text()}")
            else:
                files += [text for text in sections if text.startswith(f"{group}:")]
    if "cond" in groups:
        lines = (f"#   {of:<12}{does}" for of, (_, does) in described("conditioning").items())
        parts.append("\n".join(["# Conditionings", *lines]))
    return "\n\n".join([*parts, *map(str.rstrip, files)]).replace("$", "$$")  # Hydra's $NAMES


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
