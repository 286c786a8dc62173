"""Folders that are too large for one machine: what makes runs on several of them one job."""
