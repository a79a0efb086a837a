"""Tailored multi-task networks by structured sparsity."""

__version__ = "0.1.0"
