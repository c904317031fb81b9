"""The only training loop, with its optimizer, checkpoints and log."""
