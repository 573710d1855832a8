"""Figures and pictures of a run: statistics, tear sheet, cards, comparisons."""
