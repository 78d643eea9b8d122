"""Public names exist, and their docstrings tell the truth about their signatures."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

ROOT = Path(__file__).resolve().parents[2]
CHECKS = frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"])
STAGES = tuple(
    sorted(
        "sc_lab." + path.relative_to(ROOT / "sc_lab").with_suffix("").as_posix().replace("/", ".")
        for path in (ROOT / "sc_lab").rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py", "_version.py"}
    )
) + tuple(sorted(f"sc_lab.{path.parent.name}" for path in (ROOT / "sc_lab").glob("*/__init__.py")))


def public_objects(module_name: str) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes of a module's ``__all__`` that it defines, and their public methods."""
    module = importlib.import_module(module_name)
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if getattr(value, "__module__", None) != module_name or not callable(value):
            continue
        yield f"{module_name}.{name}", value
        if inspect.isclass(value):
            for key, member in vars(value).items():
                if not key.startswith("_") and inspect.isfunction(member):
                    yield f"{module_name}.{name}.{key}", member


@pytest.mark.parametrize("module_name", STAGES)
def test_module_says_what_it_is_for_and_names_only_what_exists(module_name: str) -> None:
    module = importlib.import_module(module_name)
    summary = (module.__doc__ or "").splitlines()
    assert summary, f"{module_name} has no docstring"
    assert summary[0].strip(), f"{module_name}'s docstring must begin on its first line"
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("module_name", STAGES)
def test_docstrings_are_numpydoc(module_name: str) -> None:
    """The checks are those of [tool.numpydoc_validation]."""
    found = []
    for name, value in public_objects(module_name):
        for code, message in validate(name)["errors"]:
            if code in CHECKS and not _excused(code, value):
                found.append(f"{name}: {code} {message}")
    assert found == [], "\n".join(found)


def _excused(code: str, value: Any) -> bool:
    """A dataclass documents its fields as attributes; the constructor that Python writes repeats them."""
    return code in {"PR01", "PR02"} and inspect.isclass(value)


@pytest.mark.parametrize("module_name", STAGES)
def test_defaults_in_docstrings_are_those_of_the_signature(module_name: str) -> None:
    """``name : float, default 3`` is compared with ``name=3``."""
    found = []
    for name, value in public_objects(module_name):
        if inspect.isclass(value):
            continue
        signature = inspect.signature(value)
        for parameter in get_doc_object(value)["Parameters"]:
            stated = re.search(r"default:? ?=? ?(.+)$", parameter.type)
            if stated is None or parameter.name not in signature.parameters:
                continue
            real = signature.parameters[parameter.name].default
            if stated.group(1).strip("`'\" ") not in {repr(real), str(real)}:
                found.append(f"{name}: {parameter.name} is {real!r}, the docstring says {stated.group(1)}")
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("module_name", STAGES)
def test_options_are_keyword_only_and_no_default_is_mutable(module_name: str) -> None:
    """Data may be absent (None); a method's first argument is what it is about."""
    found = []
    for name, value in public_objects(module_name):
        if inspect.isclass(value):
            continue
        parameters = list(inspect.signature(value).parameters.values())
        is_method = bool(parameters) and parameters[0].name in {"self", "cls"}
        for parameter in parameters[2:] if is_method else parameters:
            if isinstance(parameter.default, (list, dict, set)):
                found.append(f"{name}: the default of {parameter.name} is mutable")
            positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            if positional and isinstance(parameter.default, (bool, int, float)):
                found.append(f"{name}: {parameter.name}={parameter.default!r} is an option; make it keyword-only")
    assert found == [], "\n".join(found)
