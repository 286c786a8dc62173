"""Radiometric thermal files: what the sensor counted, not the coloured picture drawn of it.

`files` reads them, `flir` and `dji` know their containers, and `planck` turns counts into degrees.
"""
