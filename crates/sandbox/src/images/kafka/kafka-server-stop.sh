#!/bin/bash
# The interface of Kafka's own: asks every broker of the container to stop (SIGNAL names another signal), and waits for nobody.
pids="$(pgrep -f ' kafka\.Kafka ')"
if [ -z "$pids" ]; then
    echo "No kafka server to stop"
    exit 1
fi
# shellcheck disable=SC2086 # one word a process
kill -s "${SIGNAL:-TERM}" $pids
