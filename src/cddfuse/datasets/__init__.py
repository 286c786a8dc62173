"""Data sets: lists of registered pairs, read from disk or made up."""
