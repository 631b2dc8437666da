"""Control groups: one small interface, a backend per version."""
