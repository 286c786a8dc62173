"""The verb `data`."""

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cddfuse.cli.common import Flag, print_table, progress, stderr
from cddfuse.datasets.catalog import CATALOG, find_card
from cddfuse.errors import InputError
from cddfuse.io import expanded

app = App(
    name="data",
    help="List the data sets of the field, or check a folder against one.\n\n"
    "Nothing is downloaded: the authors' pages say how to get the images, and on which terms. "
    "--json prints all facts.",
)


@app.command(name="list")
def show(*, json: Flag = False) -> int:
    """List data sets: task, splits with the expected number of pairs, size, terms, source.

    Unverified facts were written down without the authors' page or images at hand.

    Args:
        json: Print all facts as JSON: layouts, lists of names, notes.
    """
    if json:
        rows = [
            {**asdict(card), "names": {k: list(s.fingerprints()) for k, s in card.splits.items()}}
            for card in CATALOG.values()
        ]
        print(json_format.dumps(rows, indent=2))
        return 0
    table = Table("name", "task", "pairs", "size", "terms", "source", box=None)
    for card in CATALOG.values():
        splits = ", ".join(f"{name} {split.pairs}" for name, split in card.splits.items())
        shown = (
            card.name,
            card.task,
            card.marked("splits", splits),
            card.marked("size", card.size),
            card.marked("terms", card.terms),
            card.source,
        )
        table.add_row(*map(Text, shown))
    print_table(Console(highlight=False), table)
    return 0


@app.command(name="check")
def compare(
    path: Path,
    /,
    *,
    name: str | None = None,
    split: Annotated[str | None, Parameter()] = None,
    json: Flag = False,
) -> int:
    """Check the pairs of a folder against a data set: counts, sizes, damaged and missing files.

    Exit code 1 if something is wrong with it.

    Args:
        path: The folder of the data set, or of one of its splits.
        name: Which data set it is; by default the one whose name is in the path.
        split: Which split is looked for; by default the first that is there.
        json: Print what was found as JSON.
    """
    from cddfuse.datasets.checking import check, recognise

    path = expanded(path)
    card = find_card(name) if name else recognise(path)
    if card is None:
        raise InputError(f"there is no data set {name}: known are {', '.join(CATALOG)}.", "name")
    with progress(stderr(quiet=False)) as bar:
        shown = bar.add_task(f"check {path}", total=None, rate="")

        def after(done: int, total: int) -> None:
            bar.update(shown, completed=done, total=total)

        found = check(path, card, split, after=after)
    whole = [name for name, (here, of) in found.splits.items() if here == of == len(found.names)]
    if json:
        content = {
            "name": card.name,
            "first": str(found.first),
            "second": str(found.second),
            "pairs": len(found.names),
            "sizes": dict(found.sizes),
            "splits": {name: {"here": h, "of": of} for name, (h, of) in found.splits.items()},
            "problems": found.problems,
        }
        print(json_format.dumps(content, indent=2))
    else:
        sizes = ", ".join(f"{count} of {size}" for size, count in found.sizes.most_common(4))
        more = ", ..." if len(found.sizes) > 4 else ""
        console = Console(highlight=False, markup=False, soft_wrap=True)
        console.print(f"{card.title}: {len(found.names)} pairs in {found.first} and {found.second}")
        console.print(f"size: {sizes}{more} (expected: {card.marked('size', card.size)})")
        for part, (here, of) in found.splits.items():
            if here:
                count = card.marked("splits", f"split {part}: {here} of {of} pairs, by name")
                console.print(count)
        if not whole:
            console.print("the pairs are not exactly those of a known split.")
        for problem in found.problems:
            console.print(problem)
    return 1 if found.problems or not found.names else 0
