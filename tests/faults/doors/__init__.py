"""Where configurations come in, one door a file."""
