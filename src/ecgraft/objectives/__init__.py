"""One file per thing to minimise."""
