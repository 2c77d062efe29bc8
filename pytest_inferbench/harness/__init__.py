"""How a measurement is made: boot, warm up, issue, drain, judge."""
