"""The command line: parsing, printing and exit codes; the only room with typer and rich."""
