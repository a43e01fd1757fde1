#!/usr/bin/env python
"""Django's command line: `manage.py help` lists the commands of this project."""

from notify.command_line import main

if __name__ == "__main__":
    main()
