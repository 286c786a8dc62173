"""`cddfuse` as a worker of torchrun, of which the second one is killed in its first life.

python -m torch.distributed.run ... dying_worker.py STEP ARGUMENT...
"""

import os
import signal
import sys
from typing import Any

from cddfuse.cli import main
from cddfuse.train.trainer import Trainer


def _die_at(last: int) -> None:
    step = Trainer.step

    def steps(trainer: Trainer, *given: Any) -> Any:
        if trainer.progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, *given)

    Trainer.step = steps  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        _die_at(int(sys.argv[1]))
    main(sys.argv[2:])
