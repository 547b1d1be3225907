"""What is compared (the experiment) and what the machine is like (the site)."""
