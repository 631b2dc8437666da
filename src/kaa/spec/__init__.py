"""config.json: load, validate, defaults, features."""
