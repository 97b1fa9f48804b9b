"""What is done: one module per stage, and the maths, storage and catalogs that stages share."""
