#!/bin/sh
# Look-ups of a bounce's way home: 50 connections, each with a process of its own as under spawn(8), and 100,000 stored senders. First all
# ask at the same moment, 50 times a second; then each asks as fast as it is answered, which keeps all processors busy. The first
# argument is the program. The stores lie on a tmpfs: look-ups find them in memory on a disk, too.
set -eu

postmend=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
mount -t tmpfs -o size=2g,mode=755 tmpfs "$work"
redis=
cleanup() {
	[ -z "$redis" ] || { kill "$redis" && wait "$redis" || true; }
	umount "$work" && rmdir "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

cp "$postmend" "$work/postmend"
for program in tables answer; do
	gcc -O2 -o "$work/$program" "$here/$program.c"
done
(cd "$here/../.." && CGO_ENABLED=0 go build -o "$work/" ./tests/bench/aliases)
(umask 077 && head -c 18 /dev/urandom | base64 >"$work/secrets" && mkdir "$work/store" "$work/redis")

# config STORE: fills the store, and writes which addresses can be asked for.
config() {
	cat >"$work/$1.toml" <<END
hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
store = "$2"
END
	"$work/aliases" "$work/$1.toml" "${ALIASES:-100000}" "$work/$1.keys" "$work/fitting"
}
config files "dir:$work/store"
redis-server --port 0 --unixsocket "$work/socket" --dir "$work/redis" --save '' >/dev/null &
redis=$!
until redis-cli -s "$work/socket" ping >/dev/null 2>&1; do kill -0 $redis; sleep 0.05; done
config redis "redis+unix://$work/socket"

ask() { # PERIOD QUERIES
	"$work/tables" 50 "$2" "$1" \
		'C, looks nothing up' "$work/fitting" "exec $work/answer" \
		'SRS address' "$work/fitting" "exec $work/postmend lookup reverse -c $work/files.toml" \
		'alias in files' "$work/files.keys" "exec $work/postmend lookup reverse -c $work/files.toml" \
		'alias in Redis' "$work/redis.keys" "exec $work/postmend lookup reverse -c $work/redis.toml"
	echo
}
echo 'look-ups, 50 at the same moment'
ask 20 250
echo 'look-ups, 50 processes without a pause'
ask 0 1000
