"""Measures, statistics and controls: pure functions of recorded lessons."""
