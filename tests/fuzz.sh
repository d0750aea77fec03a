#!/bin/sh
# Runs every fuzz target of the module, each for the given time or, as in 10000x, that many inputs.
set -eu

budget=${1:-10s}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# go.dev/issue/75804: up to Go 1.26 a target that ran to the end of its time may be reported as failed. A real finding is written down.
ended_in_time() {
	grep -q 'context deadline exceeded' "$output" && ! grep -Eq 'Failing input written|panic:|fuzzing process hung' "$output"
}

for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		if go test -run '^$' -fuzz "^$target\$" -fuzztime "$budget" -fuzzminimizetime 1s "$package" >"$output" 2>&1; then
			tail -n 1 "$output"
		elif ended_in_time; then
			echo "ended by its time"
		else
			cat "$output"
			exit 1
		fi
	done
done
