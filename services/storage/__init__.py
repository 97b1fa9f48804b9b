"""The only readers and writers of each file format."""
