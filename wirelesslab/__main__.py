"""``python -m wirelesslab`` and the ``wirelesslab`` command."""

from wirelesslab.cli import main

if __name__ == "__main__":
    main()
