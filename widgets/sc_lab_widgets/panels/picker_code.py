"""The plain-Python text that measures what the picker shows; every name from a file enters it as a quoted literal."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sc_lab.session.clump_editor import ClumpEditor

__all__ = ["picker_code"]

#: Settings of an observation that are plain values.
_PLAIN = ("reference", "bands", "mode", "background", "box", "centre", "age", "n_draws", "seed")


def picker_code(editor: ClumpEditor) -> str:
    """Return runnable text that measures the list as it stands.

    Parameters
    ----------
    editor : ClumpEditor
        The editor.

    Returns
    -------
    str
        Text that needs a variable ``field``, and ``lenses`` where lens models were given apart
        from the field; it ends with ``result``, the catalogue.
    """
    observation = editor.observation
    default = {item.name: item.default for item in fields(observation)}
    given = {name: getattr(observation, name) for name in _PLAIN if getattr(observation, name) != default[name]}
    arguments = ["field=field", *(f"{name}={value!r}" for name, value in given.items())]
    needs = ["# field: the images that were handed to the picker"]
    for name in ("lenses", "galaxies", "properties"):
        if getattr(observation, name) is not None:
            arguments.append(f"{name}={name}")
            needs.append(f"# {name}: as they were handed to the picker")
    rows = "".join(
        f"        ({str(name)!r}, {float(ra)!r}, {float(dec)!r}, {str(galaxy)!r}, {str(origin)!r}),\n"
        for name, ra, dec, galaxy, origin in editor.clumps.iterrows("id", "ra", "dec", "galaxy", "provenance")
    )
    return (
        "from astropy.table import QTable\n"
        "from sc_lab.clumps import Observation, measure\n\n"
        + "\n".join(needs)
        + f"\nclumps = QTable(\n    rows=[\n{rows}    ],\n"
        '    names=("id", "ra", "dec", "galaxy", "provenance"),\n)\n'
        f"result = measure(Observation({', '.join(arguments)}), clumps).catalog\n"
    )
