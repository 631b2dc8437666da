"""The lifecycle: one module an operation."""
