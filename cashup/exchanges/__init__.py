"""Venues behind one port."""
