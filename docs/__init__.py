"""The documentation: pages written by hand, and what `docs.generate` reads out of the code."""
