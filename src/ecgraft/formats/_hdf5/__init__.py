"""A reader of HDF5: bytes, objects, chunks, the file."""
