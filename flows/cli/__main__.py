"""``python -m sweetgrad.flows.cli``: the same as the ``sweetgrad`` program."""

from sweetgrad.flows.cli.app import main

if __name__ == "__main__":
    main()
