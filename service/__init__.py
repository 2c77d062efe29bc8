"""The reference service: RoBERTa sentiment analysis on BentoML, under the profile named in ``INFERBENCH_PROFILE``.

It is a realistic *load*, not a good classifier, unless ``INFERBENCH_MODEL`` names a real one. It never imports the
plugin, and the plugin never imports it: they meet over HTTP, one environment variable and one command line.
"""
