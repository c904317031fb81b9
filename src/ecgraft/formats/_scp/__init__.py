"""What SCP-ECG files are made of."""
