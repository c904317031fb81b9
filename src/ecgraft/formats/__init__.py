"""One file per file format: `read(path) -> Record`."""
