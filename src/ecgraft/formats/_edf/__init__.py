"""What EDF and BDF files are made of, and the writer."""
