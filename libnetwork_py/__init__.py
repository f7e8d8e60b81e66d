"""Docker's Container Network Model as a Python library."""
