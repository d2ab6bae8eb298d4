"""`python -m neve.serving`: jupyterhub-singleuser, with what it does not use imported late (see `postponed`). What neve-singleuser becomes."""

import sys

from neve.postponed import GRAMMAR, MIGRATIONS, postpone


def main() -> None:
    """Serve until the hub ends it; takes jupyterhub-singleuser's arguments."""
    postpone(*GRAMMAR, *MIGRATIONS)
    try:
        from jupyterhub.singleuser import main as serve  # noqa: PLC0415 - after what is put off
    except ImportError as error:
        sys.exit(f"neve: the notebook server cannot be started ({error}). Install neve[notebook] in {sys.prefix}.")
    serve()


if __name__ == "__main__":
    main()
