"""`python -m seamask`."""

from seamask.cli import main

if __name__ == "__main__":
    main()
