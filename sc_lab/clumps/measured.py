"""What a measurement gives: plain columns in house units, and the catalogue that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable, Table

from sc_lab.catalog import validate
from sc_lab.catalog.columns import column
from sc_lab.catalog.formats import META_KEY
from sc_lab.catalog.packing import pack_draws

if TYPE_CHECKING:
    from sc_lab.clumps.observation import Observation

__all__ = ["Measured"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What was measured of a list of clumps.

    Attributes
    ----------
    columns : mapping of str to ndarray
        One array a registry column, in its house unit, shape (n,) in the order of the list, draws (n, k); NaN,
        False or empty where there is nothing to say.
    fits : QTable or None
        What `sc_lab.photometry.fit_clumps` gave.
    refitted : tuple of str
        Ids of the clumps whose numbers are new; all of them without ``previous``.
    observation : Observation or None
        What was measured on.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    fits: QTable | None = None
    refitted: tuple[str, ...] = ()
    observation: Observation | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Names of the clumps, in the order of the list."""
        return [str(name) for name in self.columns["id"].tolist()]

    @cached_property
    def catalog(self) -> QTable:
        """The validated catalogue, one row a clump."""
        table = Table()
        for name, values in self.columns.items():
            table[name] = values
            entry = column(name)
            if entry.unit:
                table[name].unit = entry.astropy_unit
        table.meta[META_KEY] = dict(self.meta)
        out = validate(table, source=str(self.meta.get("source") or "clumps"))
        out.meta[META_KEY].update(self.meta)
        return out

    def rows(self, wanted: Sequence[int]) -> dict[str, Any]:
        """Return rows as one JSON table, the form in which an edit keeps them.

        Parameters
        ----------
        wanted : sequence of int
            Rows of the list.

        Returns
        -------
        dict
            ``columns`` (the first is ``id``), ``units`` and ``data``; None where there is no number, and draws as
            `sc_lab.catalog.pack_draws` writes them.
        """
        names = ["id", *(name for name in self.columns if name != "id")]
        index = np.asarray(wanted, dtype=int)
        data = []
        for name in names:
            values = self.columns[name][index]
            if values.ndim == 2:
                data.append([pack_draws(row) for row in values])
                continue
            plain = values.tolist()
            if values.dtype.kind == "f":
                plain = [value if good else None for value, good in zip(plain, np.isfinite(values), strict=True)]
            data.append(plain)
        units = [_unit_text(name) for name in names]
        return {"columns": names, "units": units, "data": [list(row) for row in zip(*data, strict=True)]}


def _unit_text(name: str) -> str:
    """Return the house unit of a column as `astropy.units` writes it."""
    unit = column(name).astropy_unit
    return "" if unit == u.dimensionless_unscaled else str(unit)
