"""The parts of the page, one a file: each a function of the run's files."""
