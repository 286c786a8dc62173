"""Text in LaTeX."""

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def escaped(text: str) -> str:
    """Text as LaTeX shows it, on one line, wherever it stands."""
    plain = "".join(
        f"\\{letter}" if letter in "&%$#_{}" else _COMMANDS.get(letter, letter)
        for letter in " ".join(text.split())
    )
    # After the end of a row, these would be arguments of that.
    return f"{{{plain[0]}}}{plain[1:]}" if plain.startswith(("[", "*")) else plain
