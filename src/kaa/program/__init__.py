"""Programs of system calls: built in Python, executed by kaa-init."""
