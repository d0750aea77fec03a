#!/bin/sh
# Runs every fuzz target of the module, each for the given time or, as in 10000x, that many inputs.
set -eu

budget=${1:-10s}
folder=$(mktemp -d)
output=$folder/output
trap 'rm -rf "$folder"' EXIT

# go.dev/issue/75804: up to Go 1.26 a target that ran to the end of its time may be reported as failed. A real finding is written down.
ended_in_time() {
	grep -q 'context deadline exceeded' "$output" && ! grep -Eq 'Failing input written|panic:|fuzzing process hung' "$output"
}

cache=$(go env GOCACHE)/fuzz
go list -f '{{.ImportPath}} {{.Dir}}' ./... >"$folder/packages"
while read -r package dir; do
	cd "$dir"
	grep -q '^func Fuzz' ./*_test.go 2>/dev/null || continue
	go test -c -fuzz . -o "$folder/test" .
	for target in $("$folder/test" -test.list '^Fuzz'); do
		echo "$package $target"
		if "$folder/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$budget" -test.fuzzminimizetime 1s \
			-test.fuzzcachedir "$cache/$package" >"$output" 2>&1; then
			tail -n 1 "$output"
		elif ended_in_time; then
			echo "ended by its time"
		else
			cat "$output"
			exit 1
		fi
	done
done <"$folder/packages"
