"""Judges behind the `Grader` seam."""
