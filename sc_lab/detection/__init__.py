"""Detection: host removal, compact peaks, segments and contours of galaxies, and their selection."""

from sc_lab.detection.clumps import detect_clumps
from sc_lab.detection.flags import DetectionFlag
from sc_lab.detection.host import HOST_METHODS, HostSubtracted, host_subtracted, running_median, subtract_host
from sc_lab.detection.matching import Match, completeness_table, match_pixels, match_positions
from sc_lab.detection.segments import Segments, make_segments, merge_segments, segment_galaxies
from sc_lab.detection.selection import GalaxySelection, Magnifier, select_galaxies
from sc_lab.detection.sources import DEFAULT_THRESHOLDS, DETECTION_METHODS, find_peaks, measured_noise
from sc_lab.detection.template import matched_snr, peak_template, template_snr

__all__ = [
    "DEFAULT_THRESHOLDS",
    "DETECTION_METHODS",
    "HOST_METHODS",
    "DetectionFlag",
    "GalaxySelection",
    "HostSubtracted",
    "Magnifier",
    "Match",
    "Segments",
    "completeness_table",
    "detect_clumps",
    "find_peaks",
    "host_subtracted",
    "make_segments",
    "match_pixels",
    "match_positions",
    "matched_snr",
    "measured_noise",
    "merge_segments",
    "peak_template",
    "running_median",
    "segment_galaxies",
    "select_galaxies",
    "subtract_host",
    "template_snr",
]
