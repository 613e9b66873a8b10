"""Face-recognition targets, one architecture per file."""
