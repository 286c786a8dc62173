"""One module per image format, each of which tells the header from the pixels.

Decoders of other libraries see only the parts of a file that they need for its pixels, so that
malformed metadata cannot make an image unreadable.
"""
