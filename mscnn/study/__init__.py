"""Does the scale at which a network decides follow the size of what it sees? Measured on photos."""
