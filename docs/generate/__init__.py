"""Pages and tables that are read out of the code, so that nothing is typed twice."""
