#!/bin/sh
# The gate without a CI service: compares this checkout with the revision in $1 (default: main) on this machine.
set -eu
exec pytest benchmarks/ --against "git:${1:-main}" --inferbench-budget 10min --inferbench-html report/index.html
