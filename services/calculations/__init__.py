"""Pure mathematics on arrays: no path, no log, no configuration file."""
