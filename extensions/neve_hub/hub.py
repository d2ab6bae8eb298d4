"""`python -m neve_hub.hub`: jupyterhub, with what it does not use imported late (see `neve.postponed`)."""

from neve.postponed import GRAMMAR, postpone


def main() -> None:
    """Serve until it is ended; takes jupyterhub's arguments."""
    postpone(*GRAMMAR)
    from jupyterhub.app import main as serve  # noqa: PLC0415 - after what is put off

    serve()


if __name__ == "__main__":
    main()
