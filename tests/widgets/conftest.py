"""What every panel test shares."""

import pytest
from sc_lab_widgets._report import raise_errors

from sc_lab.mock import make_population
from sc_lab.session import Session


@pytest.fixture(scope="session")
def catalog():
    return make_population(n=400, rng=5).catalog


@pytest.fixture
def session(catalog):
    with Session(catalog) as session:
        session.do("set", n_populations=100)
        yield session


@pytest.fixture(autouse=True)
def no_swallowed_errors(monkeypatch):
    """Let an error in a callback fail the test: ipywidgets would only log it."""
    from ipywidgets.widgets import widget

    def call(self, *args, **kwargs):
        results = [callback(*args, **kwargs) for callback in self.callbacks]
        return results[-1] if results else None

    monkeypatch.setattr(widget.CallbackDispatcher, "__call__", call)
    with raise_errors():
        yield
