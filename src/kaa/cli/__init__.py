"""The command line: one table of commands and options."""
