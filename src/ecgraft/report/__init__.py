"""Pictures of ECGs and results, and the HTML page that holds them."""

from .draw import ecg
from .page import Page
from .picture import png

__all__ = ["Page", "ecg", "png"]
