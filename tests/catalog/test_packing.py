"""Draws as text: exact to float32, and refused in words where the text holds none."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.catalog import pack_draws, unpack_draws
from sc_lab.errors import InputError


def test_draws_come_back_as_float32_holds_them():
    draws = np.array([1.1e7, np.nan, 3e-12, -2.0])
    back = unpack_draws(pack_draws(draws))
    np.testing.assert_array_equal(back, draws.astype(np.float32).astype(float))
    assert pack_draws(back) == pack_draws(draws), "once rounded nothing changes any more"


def test_no_draw_is_no_text():
    assert pack_draws(np.full(3, np.nan)) is None
    assert pack_draws(np.array([])) is None


@pytest.mark.parametrize("wrong", ["", "AAAA", "not base64", "\u00e9", "AACAPw"])
def test_what_holds_no_draws_is_refused(wrong):
    with pytest.raises(InputError, match="pack_draws"):
        unpack_draws(wrong)
