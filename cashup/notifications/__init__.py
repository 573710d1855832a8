"""Telling people: what somebody must look at, until somebody has."""
