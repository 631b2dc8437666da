"""config.json to programs of system calls. Pure: nothing here touches the kernel."""
