"""The plain-Python text of what a panel shows; every name from a file enters it as a quoted literal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sc_lab.population import Settings

if TYPE_CHECKING:
    from sc_lab_widgets._host import Host

__all__ = ["population_code"]

_MOCK = re.compile(r"mock population, seed (\d+)")


def population_code(host: Host) -> str:
    """Return runnable text that makes ``population`` as the host shows it.

    Parameters
    ----------
    host : Host
        The host.

    Returns
    -------
    str
        Imports, the catalogue, and the call with every setting that differs from its default.
    """
    imports = ["import numpy as np", "from sc_lab.population import STATUS, analyse"]
    catalog = "catalog"
    note = ""
    provenance = host.population.catalog.meta.get("sc_lab", {})
    mock = _MOCK.fullmatch(str(provenance.get("source", "")))
    if host.session.path is not None:
        imports.append("from sc_lab.session import Session")
        catalog = f"Session.open({str(host.session.path)!r}).current_catalog"
    elif mock and host.catalog_path is None:
        imports.append("from sc_lab.mock import make_population")
        size = "" if host.population.n == 2540 else f"n={host.population.n}, "
        catalog = f"make_population({size}rng={int(mock[1])}).catalog"
    elif host.catalog_path is not None:
        imports.append("from sc_lab.catalog import read_catalog")
        catalog = f"read_catalog({host.catalog_path!r})"
    else:
        note = "# catalog: the table that was handed to the workbench\n"
    default, settings = Settings().to_dict(), host.session.settings.to_dict()
    arguments = [catalog]
    arguments += [f"{name}={value!r}" for name, value in settings.items() if value != default[name]]
    document = host.session.document
    if document.excluded:
        arguments.append(f"excluded={dict(document.excluded)!r}")
    if document.kept:
        arguments.append(f"kept={list(document.kept)!r}")
    if document.notes:
        arguments.append(f"notes={dict(document.notes)!r}")
    body = "".join(f"    {argument},\n" for argument in arguments)
    return "\n".join(sorted(imports)) + f"\n\n{note}population = analyse(\n{body})"
