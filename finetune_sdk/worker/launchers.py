"""The command that starts a worker: one process, or several under torchrun."""

from __future__ import annotations

from pathlib import Path

RUNNER = Path(__file__).with_name("runner.py")
SUPERVISOR = Path(__file__).with_name("supervisor.py")


def command(python: Path, job_dir: Path, *, processes: int = 1) -> list[str]:
    """`-I` keeps the current folder and PYTHONPATH out: a `datasets.py` lying about must not shadow the library."""
    script = [str(RUNNER), str(job_dir)]
    if processes == 1:
        return [str(python), "-I", "-u", *script]
    # as a module: the `torchrun` script carries an absolute shebang, and ranks get -I's effect from PYTHONSAFEPATH
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [str(python), "-I", "-u", *launcher, *script]


def supervised(python: Path, job_dir: Path, lock_fd: int, worker: list[str]) -> list[str]:
    """The supervisor around a worker's command."""
    return [str(python), "-I", "-u", str(SUPERVISOR), str(job_dir), str(lock_fd), "--", *worker]
