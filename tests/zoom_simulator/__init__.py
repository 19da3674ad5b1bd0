"""A stand-in for Zoom's servers: what is documented of them, and faults on demand."""
