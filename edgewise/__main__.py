"""The door from a terminal: `python -m edgewise <verb>`, the same as `edgewise <verb>`. See edgewise/cli."""

from edgewise.cli.app import main

if __name__ == "__main__":
    main()
