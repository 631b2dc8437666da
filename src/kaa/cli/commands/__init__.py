"""One module a command: its options become a call, and the result is printed."""
