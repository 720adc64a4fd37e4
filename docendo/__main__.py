"""`python -m docendo`: the command line."""

from docendo.runtime.cli import main

if __name__ == "__main__":
    main()
