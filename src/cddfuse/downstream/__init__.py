"""Does a fused image help a detector and a segmenter? Tables with intervals, beside the sources."""
