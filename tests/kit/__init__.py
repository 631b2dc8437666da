"""The library of the integration tests: everything they need of the machine.

Nothing here imitates the kernel; the kit only builds root file systems, writes
bundles, runs the runtime under test, and looks at what is left afterwards.
"""
