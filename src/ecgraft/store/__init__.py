"""The corpus on disk: written once, read in windows at random; splits by patient."""
