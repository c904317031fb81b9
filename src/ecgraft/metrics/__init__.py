"""Numbers to numbers: classification, waves, calibration, bootstrap and paired tests."""
