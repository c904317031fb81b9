"""An encoder and its grafts: save, load, predict."""
