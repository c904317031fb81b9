"""What `ecgraft bench` is made of: the protocol, its cells, their results, and the tables made from these."""
