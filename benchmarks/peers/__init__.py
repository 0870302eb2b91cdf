"""One training step, done by this toolkit, by its peers and by a bare loop: an arm each."""
