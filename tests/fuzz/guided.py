"""Let coverage of cddfuse choose the damage: see `scripts/fuzz guided`.

A campaign damages files blindly and repeatably; this one, by atheris (libFuzzer), keeps what
reaches new code and damages it further. Inputs are the index of a valid file, in one byte, and
the damaged contents. It ends at the first fault and keeps that input as a file.
"""

import argparse
from pathlib import Path
from random import Random

_SLOW = 300  # seconds on the clock, of a machine that may be busy
# Numba does not compile what atheris has changed.
_COMPILED = ["cddfuse.metrics.kernels", "cddfuse.runtime.cddfuse"]
_MEMORY = 6 * 1024  # MB of the whole process


def run(
    target: str, minutes: float, keep: Path, inputs: int = -1, again: Path | None = None
) -> None:
    """Does not return: libFuzzer ends the process, with 0 if there was no fault.

    Args:
        target: of `fuzz.targets`.
        minutes: after which it ends.
        keep: folder of the inputs that reach something new, from one run to the next, and of
            the fault.
        inputs: after so many it ends too; -1 is without a limit.
        again: use this input alone, such as that of a fault.
    """
    try:
        import atheris
    except ModuleNotFoundError as error:
        raise SystemExit("atheris is not installed: `pip install atheris` (Linux).") from error

    # Imports within functions count too, so everything happens under the hook.
    with atheris.instrument_imports(include=["cddfuse"], exclude=_COMPILED):
        from fuzz.inputs import Input, outcome
        from fuzz.mutations import mutated
        from fuzz.targets import TARGETS

        if target not in TARGETS:
            raise SystemExit(f"there is no target {target}: there are {', '.join(TARGETS)}.")
        files = TARGETS[target].files()
        names = list(files)
        corpus, room = keep / target, keep / "room"
        for folder in (corpus, room):
            folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(files.values()):
            (corpus / f"seed-{number}").write_bytes(bytes([number]) + content)

        def use(data: bytes) -> None:
            if data:
                name = names[data[0] % len(names)]
                outcome(Input(target, name, data[1:], Random(data)), room)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            random = Random(seed)
            if random.random() < 0.5:
                return atheris.Mutate(data, most)
            found = mutated(data[1:], random, list(files.values()))
            return (data[:1] + found)[:most]

        largest = 1 + max(map(len, files.values()))
        flags = [f"-artifact_prefix={keep}/fault-{target}-", f"-max_len={largest}"]
        flags += [f"-timeout={_SLOW}", f"-report_slow_units={_SLOW}", f"-rss_limit_mb={_MEMORY}"]
        flags += [f"-runs={inputs}", f"-max_total_time={round(60 * minutes)}"]
        atheris.Setup(["fuzz", *flags, str(again or corpus)], use, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz guided", description=__doc__)
    parser.add_argument("target", help="of tests/fuzz/targets.py, such as thermal")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--inputs", type=int, default=-1, help="end after so many")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="folder of inputs")
    parser.add_argument("--again", type=Path, help="use one input, such as fuzz/fault-read-...")
    arguments = parser.parse_args()
    run(arguments.target, arguments.minutes, arguments.keep, arguments.inputs, arguments.again)


if __name__ == "__main__":
    main()
