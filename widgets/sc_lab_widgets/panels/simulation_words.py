"""What the simulation panel says: the numbers of a group, the state of the search, and the same as plain Python."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from sc_lab.population.analysis import format_value

__all__ = ["code_of", "group_table", "summary"]

_CELL = "line-height: 1.35; padding: 0 12px 0 0; text-align: left; vertical-align: top"
#: Column, name, unit and how it is written.
_ROWS = (
    ("mass", "stellar mass", "M☉"),
    ("r_half", "half-mass radius, in space", "pc"),
    ("r_projected", "half-mass radius, projected", "pc"),
    ("sigma_mass", "surface density", "M☉ pc⁻²"),
    ("virial_ratio", "|U|/K", ""),
    ("virial_ratio_stars", "|U|/K of the stars alone", ""),
    ("radius", "radius", "pc"),
    ("r_max", "farthest star", "pc"),
    ("n_star", "stars", ""),
    ("mass_dm", "dark matter inside the radius", "M☉"),
    ("mass_gas", "gas inside the farthest star", "M☉"),
    ("v_rms", "speed of the stars", "km/s"),
    ("t_dyn", "dynamical time", "Myr"),
    ("age_onset", "oldest star", "Myr"),
)


def _number(value: Any) -> float:
    plain = getattr(value, "value", value)
    return float("nan") if np.ma.is_masked(plain) else float(plain)


def group_table(row: Any, state: str) -> str:
    """Return the numbers of one group, as HTML.

    Parameters
    ----------
    row : Row
        A row of `sc_lab.simulations.measure_clusters`.
    state : str
        Virialised, bound or unbound.

    Returns
    -------
    str
        A table; text from files is escaped.
    """
    with_dark = "stars and dark matter decide" if bool(row["used_dm"]) else "the stars alone decide"
    lines = [("group", str(row["id"])), ("state", f"{state}; {with_dark}")]
    for column, name, unit in _ROWS:
        value = _number(row[column])
        if np.isfinite(value):
            number = f"{value:.0f}" if column == "n_star" else format_value(value)
            lines.append((name, f"{number} {unit}".strip()))
    cells = [
        f'<tr><th scope="row" style="{_CELL}">{html.escape(name)}</th><td style="{_CELL}">{html.escape(text)}</td></tr>'
        for name, text in lines
    ]
    half = (len(cells) + 1) // 2
    tables = "".join(
        f'<table class="sclab-numbers" aria-label="{label}" style="display: inline-table; margin-right: 2em">'
        f"{''.join(part)}</table>"
        for label, part in (
            ("numbers of the group", cells[:half]),
            ("further numbers of the group", cells[half:]),
        )
    )
    return f'<div style="display: flex; flex-wrap: wrap; align-items: flex-start">{tables}</div>'


def summary(states: Any, n_groups: int, mode: str, length: float, seconds: float) -> str:
    """Return what was found, in a line.

    Parameters
    ----------
    states : ndarray of str
        State of each cluster.
    n_groups : int
        Groups of all sizes.
    mode : str
        What was linked.
    length : float
        Linking length [pc, physical].
    seconds : float
        How long it took.

    Returns
    -------
    str
        Plain text.
    """
    counts = ", ".join(f"{int((states == name).sum())} {name}" for name in ("virialised", "bound", "unbound"))
    return (
        f"{n_groups} groups of {mode}, linked out to {length:.3g} pc; {len(states)} with enough members: {counts} "
        f"({seconds:.2f} s)"
    )


def code_of(origin: str, choice: dict[str, Any]) -> str:
    """Return the plain-Python text of a search.

    Parameters
    ----------
    origin : str
        The line that opens the snapshot, or a comment on it.
    choice : dict
        ``mode``, ``primary``, ``secondary``, ``b``, ``min_stars``, ``min_dm``.

    Returns
    -------
    str
        Runnable text whose last line assigns ``result``.
    """
    if choice["mode"] is None:
        linked = f"None, primary={choice['primary']!r}, secondary={choice['secondary']!r}"
    else:
        linked = repr(choice["mode"])
    return (
        "from sc_lab.simulations import find_groups, measure_clusters\n\n"
        f"{origin}\n"
        f"groups = find_groups(snapshot, {linked}, b={choice['b']!r})\n"
        f"result = measure_clusters(snapshot, groups, min_stars={choice['min_stars']!r}, min_dm={choice['min_dm']!r})\n"
    )
