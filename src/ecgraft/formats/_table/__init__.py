"""What text tables of ECGs look like."""
