"""One file per public database: `records(folder) -> Iterator[Record]`."""
