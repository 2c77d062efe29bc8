"""What the runs say: pairing, effect, comparison, verdict. Pure: no clock, no file, no process."""
