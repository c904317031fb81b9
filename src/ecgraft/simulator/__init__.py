"""ECGs without end from a moving dipole, with exact waves, labels and reports."""
