"""The namespace toolkit behind `kaa ns`."""
