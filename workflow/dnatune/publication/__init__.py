"""A tuned model of finished results sent elsewhere: to a folder, or to a repository of a model hub."""
