"""The library: what `import kaa` offers, built on the operations of `kaa.container`.

Nothing here changes the process that it runs in: no working directory, no
environment, no signal mask or handler, no child but its own is waited for.
"""
