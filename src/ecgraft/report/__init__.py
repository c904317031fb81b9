"""Drawings of ECGs and results, and the HTML page that holds them."""
