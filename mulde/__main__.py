"""`python -m mulde`: the command line."""

from mulde.cli import main

if __name__ == "__main__":
    main()
