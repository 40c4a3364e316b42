"""Reproducible measurements. Ratios of things run side by side count; a lone figure says little of another machine."""
