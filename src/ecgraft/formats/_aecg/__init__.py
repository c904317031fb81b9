"""What HL7 aECG files are made of."""
