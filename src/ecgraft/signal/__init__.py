"""Arrays to arrays (numpy, scipy): filter, resample, leads, quality, peaks, recipe."""
