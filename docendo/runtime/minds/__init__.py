"""Simulated learners and experts whose minds are known."""
