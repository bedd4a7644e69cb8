"""`python -m service.cli` is `skeleton-prompt`."""

from service.cli.app import main

main()
