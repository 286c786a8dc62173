"""`python -m cddfuse`, the same as the command `cddfuse`."""

from cddfuse.cli import main

main()
