"""What WFDB records are made of: headers, signals, annotations, comments, and the writer."""
