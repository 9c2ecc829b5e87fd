"""Checks one row: values and all gradients of a network or a tool, or a clear refusal."""

import copy
import dataclasses
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from compatibility.reference import (
    MANY,
    ONE,
    STEPS,
    Case,
    assert_same,
    expected,
    found,
    in_place,
    perturb,
)
from torch.nn.parameter import is_lazy

import dpi.interpolation
from dpi.interpolation import interpolate

WRONG = "**wrong**"
HERE = Path(dpi.interpolation.__file__).parent


@dataclasses.dataclass
class Row:
    name: str
    one: str
    many: str
    remark: str = ""


def attempt(run: Callable[[], str]) -> tuple[str, str]:
    """What run() returns, or "refused" and the message, which must be one clear line of ours."""
    try:
        return run(), ""
    except (ValueError, RuntimeError, TypeError) as error:
        if str(error).startswith("Trying to backward through the graph a second time"):
            return "refused", "PyTorch: backward through the graph a second time"
        frames = traceback.extract_tb(error.__traceback__)
        if Path(frames[-1].filename).parent != HERE or not frames[-1].line.startswith("raise"):
            raise
        message = str(error)
        assert "\n" not in message and len(message) < 400, f"not one clear line: {message}"
        return "refused", message


WAYS: list[tuple[list[int], dict[str, float]]] = [
    (MANY, {}),
    (MANY, {"POSITIONS": 0, "MEMORY": float("inf"), "LARGE": -1}),
    ([9, 0, 9, 0], {"POSITIONS": 0, "MEMORY": float("inf"), "LARGE": float("inf")}),
]
"""Scalars, and thresholds of dpi.interpolation.operations that lead to each of its ways."""


class Wrong(AssertionError):
    """What is seen is neither right nor a clear refusal."""

    def __init__(self, name: str, one: str, many: str, error: Exception) -> None:
        self.said = (str(error).strip() or type(error).__name__).splitlines()[0]
        self.row = Row(name, one, many, self.said)
        super().__init__(self.said)


def check_network(name: str, make: Callable[[], Case]) -> Row:
    """One scalar for the batch, and one for each sample with both modes.

    Raises:
        Wrong: something is silently wrong or fails without a clear error.
    """
    torch.manual_seed(0)
    case = make()
    made: list[torch.nn.Module] = []
    refused = attempt(lambda: made.extend(interpolated(case)) or "")[1]
    if refused:
        return Row(name, "refused", "refused", refused)
    g, plain = made

    references: dict[str, dict] = {}

    def reference(s: int | list[int]) -> dict:
        if str(s) not in references:
            values = in_place(case, g, s) if case.in_place else expected(case, plain, g, s)
            references[str(s)] = values
        return references[str(s)]

    def run(s: int | list[int], mode: str) -> str:
        g.mode = mode
        if case.first:
            with torch.no_grad():
                g(case.first[0], torch.tensor(s), *case.first[1:])
        ours = found(case, g, s)
        how = g.last_run
        want = reference(s)
        assert_same({k: v for k, v in ours.items() if k in want}, want, case.tolerance)
        with torch.no_grad():  # other operations may be reached
            without = found(case, g, s)
        values = {k: v for k, v in want.items() if k.startswith("output")}
        assert_same({k: without[k] for k in values}, values, case.tolerance)
        return how

    def several() -> tuple[str, str]:
        grouped, grouped_refused = attempt(lambda: run(MANY, "grouped"))
        assert grouped in ("refused", "4 samples, 3 scalars: grouped, as mode says")
        many, refused = attempt(lambda: run(MANY, "auto"))
        if many == "refused":
            return many, refused
        many, _, reason = many.removeprefix("4 samples, 3 scalars: ").partition(", since ")
        if many == "one pass":
            for s, thresholds in WAYS[1:]:
                with mock.patch.multiple("dpi.interpolation.operations", **thresholds):
                    assert run(s, "auto").endswith("one pass")
        if grouped == "refused":
            reason = f'mode="grouped" is refused: {grouped_refused}'
        return many, reason

    one, refused = WRONG, ""
    try:
        one, refused = attempt(lambda: run(ONE, "auto"))
        one = {"one scalar": "works"}.get(one, one)
        many, remark = several()
    except Exception as error:
        raise Wrong(name, one, WRONG, error) from error
    return Row(name, one, many, refused or remark)


def interpolated(case: Case) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The interpolated network and the plain one for the reference."""
    net = case.net
    if not any(is_lazy(p) for p in net.parameters()):
        net.double()
    net.train(case.training)
    try:
        plain = copy.deepcopy(net)
    except RuntimeError:  # interpolate will say so
        plain = net
    case.prepare(net)
    g = interpolate(net, num_scalars=STEPS, **case.options).double().train(case.training)
    perturb(g)
    return g, plain


def check_tool(name: str, check: Callable, many: bool = True) -> Row:
    """A tool, with one scalar and, if it takes many, with one for each sample."""
    cells, remarks = [], []
    for s in (ONE, MANY) if many else (ONE,):
        torch.compiler.reset()
        try:
            how, message = attempt(lambda s=s: check(s) or "works")
        except Exception as error:
            one, several, *_ = [*cells, WRONG, WRONG]
            raise Wrong(name, one, several, error) from error
        if type(how) is not str:  # refused, in another process
            how, message = "refused", str(how)
        how, _, reason = re.sub("^. samples, .*?: ", "", how).partition(", since ")
        cells.append({"one scalar": "works"}.get(how, how))
        remarks.append(message or reason)
    return Row(name, *[*cells, ""][:2], next(filter(None, remarks), ""))
