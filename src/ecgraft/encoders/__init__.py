"""One file per architecture: signal to a pyramid of features."""
