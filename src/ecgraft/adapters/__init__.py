"""One file per adapter: a small change inside a frozen encoder."""
