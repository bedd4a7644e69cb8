"""Child processes: start, parent-death signal, supervision."""
