"""What a configuration costs before it starts: jobs, hours and disk space."""
