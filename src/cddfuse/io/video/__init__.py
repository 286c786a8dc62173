"""Clips: video files, image sequences and cameras as sources of pairs, video files as sinks.

PyAV reads and writes (the extra `video`). Times are exact fractions of seconds throughout.
"""
