"""Everything the service ships that is text: the lexicon, the labelled corpus and the benchmark payloads."""
