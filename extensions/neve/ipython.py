"""What IPython is told of Névé when it is imported in a notebook: `%%neve_when_ready`.

%%neve_when_ready saxs/run07 xas/scan7
data = cat["saxs/run07"].read()       # runs when both are back
"""

from __future__ import annotations

from typing import Any

from neve.errors import WrongUse

_MAGIC = "neve_when_ready"


def register() -> None:
    """Make the magic known to the IPython that runs, where one does; done again, it changes nothing."""
    from IPython import get_ipython  # noqa: PLC0415 - only where IPython is imported already

    shell = get_ipython()
    if shell is not None and _MAGIC not in shell.magics_manager.magics["cell"]:
        shell.register_magic_function(when_ready, "cell", _MAGIC)


def load_ipython_extension(_shell: Any) -> None:
    """`%load_ext neve.ipython`."""
    register()


def when_ready(line: str, cell: str) -> None:
    """`%%neve_when_ready NAME…`: ask for what of these datasets is cold, wait with progress, then run the cell.

    Interrupting the wait does not end the restores: run the cell again and it waits for the same ones.
    """
    from IPython import get_ipython  # noqa: PLC0415

    from neve.preflight_check import preflight  # noqa: PLC0415 - HTTP only when it is used

    names = line.split()
    if not names:
        raise WrongUse("No dataset is named.", f"Write %%{_MAGIC} saxs/run07, with one name or several.")
    for handle in preflight(names).restore():
        handle.wait()
    shell = get_ipython()
    if shell is None:
        raise WrongUse(f"%%{_MAGIC} is for notebooks and IPython.", "In a program: neve.restore(name).wait().")
    result = shell.run_cell(cell)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        error._render_traceback_ = list  # IPython has shown it already; it still stops what runs all cells
        raise error
