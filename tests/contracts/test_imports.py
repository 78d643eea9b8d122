"""The library is light: no UI toolkit, nothing heavy before it is needed, no pickle."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("bagpipes", "matplotlib", "ipywidgets", "bokeh", "holoviews", "panel", "IPython", "anywidget")
LAZY = ("emcee", "pyarrow", "astroquery", "regions", "pandas")
#: None in sys.modules means "not installed", for import statements and for find_spec alike.
BLOCK = "import sys\nsys.modules.update(dict.fromkeys({names!r}))\n"


def run(code: str, cwd: Path) -> str:
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def library_modules(root: Path) -> list[str]:
    names = []
    for path in sorted((root / "sc_lab").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_importing_sc_lab_imports_nothing_heavy(tmp_path: Path) -> None:
    loaded = json.loads(run("import json, sys, sc_lab; print(json.dumps(sorted(sys.modules)))", tmp_path))
    tops = {name.partition(".")[0] for name in loaded}
    assert "sc_lab" in tops  # success trivial otherwise
    assert not tops & {*HEAVY, *LAZY, "numpy", "scipy", "astropy"}


def test_every_library_module_imports_with_the_toolkits_blocked(root: Path, tmp_path: Path) -> None:
    """Neither a toolkit nor an optional or slow package is needed, or loaded, at import."""
    modules = library_modules(root)
    assert len(modules) > 10  # success trivial otherwise
    code = BLOCK.format(names=set(HEAVY) | set(LAZY) | {"sc_lab_widgets"})
    code += f"import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)\nprint('done')"
    assert run(code, tmp_path).strip() == "done"


@pytest.mark.parametrize("missing", ["ipywidgets", "bokeh"])
def test_widgets_without_the_extras_say_how_to_get_them(missing: str, tmp_path: Path) -> None:
    code = BLOCK.format(names={missing}) + (
        "from sc_lab.errors import OptionalDependencyError\n"
        "try:\n    import sc_lab_widgets\nexcept OptionalDependencyError as error:\n    print(error)"
    )
    answer = run(code, tmp_path)
    assert "needs the notebook extras: pip install 'sc-lab[widgets]'" in answer
    assert missing in answer


def test_lazy_names_are_what_they_say(tmp_path: Path) -> None:
    """Each public name of the packages can be had, is listed by dir(), and a wrong one is refused."""
    code = (
        "import sc_lab, sc_lab_widgets\n"
        "for package in (sc_lab, sc_lab_widgets):\n"
        "    for name in package.__all__:\n"
        "        getattr(package, name)\n"
        "        assert name in dir(package), name\n"
        "    try:\n        package.nonsense\n"
        "    except AttributeError as error:\n        assert 'nonsense' in str(error)\n"
        "    else:\n        raise SystemExit('nonsense was found')\n"
        "print('done')"
    )
    assert run(code, tmp_path).strip() == "done"


def test_no_module_uses_pickle_eval_or_exec(root: Path) -> None:
    """What comes from a file is data and is never executed."""
    modules, calls = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, {"eval", "exec"}
    found, seen = [], 0
    for folder in ("sc_lab", "widgets"):
        for path in sorted((root / folder).rglob("*.py")):
            seen += 1
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: set[str] = set()
                if isinstance(node, ast.Import):
                    names = {alias.name.partition(".")[0] for alias in node.names} & modules
                elif isinstance(node, ast.ImportFrom):
                    names = {(node.module or "").partition(".")[0]} & modules
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    names = {node.func.id} & calls
                elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                    names = {"allow_pickle"} if getattr(node.value, "value", True) else set()
                found += [f"{path.relative_to(root)}:{getattr(node, 'lineno', '?')}: {name}" for name in names]
    assert seen > 20  # success trivial otherwise
    assert found == []
