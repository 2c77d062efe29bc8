#!/bin/sh
# The gate without a CI service: this checkout against the revision in $1 (default: main), in turns on this machine.
set -eu
exec pytest benchmarks/ --against "git:${1:-main}" --inferbench-budget 10min --inferbench-html report/index.html
