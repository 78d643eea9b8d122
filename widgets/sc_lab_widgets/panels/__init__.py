"""The panels: each a thin face of one call into `sc_lab`."""
