"""Where input files are listed."""
