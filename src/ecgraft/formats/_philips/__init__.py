"""What Philips Sierra XML is made of."""
