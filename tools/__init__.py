"""Programs that look after the repository and run it on a laptop; no part of the package."""
