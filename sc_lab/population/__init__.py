"""The population analysis: one catalogue, one set of settings, every derived product computed once."""

from sc_lab.population.analysis import STATUS, Population, analyse
from sc_lab.population.histograms import Histogram
from sc_lab.population.hosts import HOST_QUANTITIES, HostHistogram, host_histograms
from sc_lab.population.quantities import QUANTITIES, Quantity, quantity
from sc_lab.population.settings import DEFAULT_GC_BOX, Settings, Vertices

__all__ = [
    "DEFAULT_GC_BOX",
    "HOST_QUANTITIES",
    "QUANTITIES",
    "STATUS",
    "Histogram",
    "HostHistogram",
    "Population",
    "Quantity",
    "Settings",
    "Vertices",
    "analyse",
    "host_histograms",
    "quantity",
]
