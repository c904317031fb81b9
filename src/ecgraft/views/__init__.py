"""Batches to batches on the device: augmentation and contrastive views."""
