"""The entry point of an engine's process: `python -I start.py ENGINE FD`, or of a single deed. Stdlib only.

FD is one end of a socket pair; when the other end closes, the process leaves.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "finetune_engine"
DEEDS = {"export": ".export.main", "fetch": ".fetch", "push": ".push"}


def load(folder: Path) -> None:
    """Make the package of this folder importable under a name that shadows no library."""
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(str(folder))
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load(Path(__file__).resolve().parent)
    if sys.argv[1] in DEEDS:
        gc.disable()
        deed = importlib.import_module(PACKAGE + DEEDS[sys.argv[1]])
        gc.freeze()  # libraries: there is no garbage among their million objects
        gc.enable()
        deed.run(sys.argv[2])
    else:
        importlib.import_module(f"{PACKAGE}.service").run(sys.argv[1], int(sys.argv[2]))
