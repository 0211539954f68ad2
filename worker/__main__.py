"""`python -m worker` is the `ledgerock` command."""

from worker.cli.main import main

if __name__ == "__main__":
    main()
