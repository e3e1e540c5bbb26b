"""Runs the commands as ``python -m edgeprune``, which is how torchrun starts them."""

from edgeprune.cli.main import main

if __name__ == "__main__":
    main()
