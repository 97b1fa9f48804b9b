"""What things look like: pure values and tables."""
