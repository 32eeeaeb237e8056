#!/bin/sh
# An entrypoint as images have it: some work in child processes, then exec of the main program.
set -eu
printenv DB_PASSWORD | tr -d "\n" | sha256sum
exec sleep 600
