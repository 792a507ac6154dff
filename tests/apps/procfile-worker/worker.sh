#!/usr/bin/env bash
# Works once a second and stops when it is told to.
trap 'echo "worker stops"; exit 0' TERM
echo "worker starts on ${DYNO:-no dyno}"
for ((count = 1; ; count++)); do
    echo "worker did job $count"
    sleep 1 &
    wait $!
done
