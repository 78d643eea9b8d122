"""Spectral energy distributions: filters, stellar libraries, model photometry, and posteriors of ages and masses."""
