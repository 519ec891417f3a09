"""
Run one cell and capture it.

`execute` runs source in a namespace; a `Sink` holds what it put out, in order and bounded; `routing` makes the
process's streams, displays and results ask whose output they carry; `interrupts` turns Stop into the right thing
wherever the process stands. It knows nothing of models, limits or traces.
"""
