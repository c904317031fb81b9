"""One file per thing a person does; they read like scripts."""
