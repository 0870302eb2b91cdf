"""One kind of fault a file, each with its `KIND`."""
