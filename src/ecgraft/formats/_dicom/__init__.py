"""What DICOM waveforms are made of, and the writer."""
