#!/bin/sh
# One `postmend filter` beside a C program that only passes stdin to SMTP: both hand the same message to the same smtp-sink, in
# turn, in one run. The message is our own user's, so that there are an SRS sender and a signature but no DNS. Once the sender does not fit
# into an SRS address, and is stored in files on a disk. Then whole systems, by system.sh, the milter, by door.sh, and look-ups, by
# tables.sh. The first argument is the program.
set -eu

missing=
for program in smtp-sink smtp-source gcc go unshare opendkim opendmarc postsrsd rspamd redis-server; do
	command -v "$program" >/dev/null || missing="$missing $program"
done
/usr/bin/python3 -c 'import dkim' 2>/dev/null || missing="$missing python3-dkim"
[ -z "$missing" ] || { echo "The benchmarks need:$missing (sh tests/peers.sh opendmarc installs them)" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo 'The benchmarks of whole systems need root' >&2; exit 1; }

postmend=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
port=${PORT:-24625}
chmod 755 "$work"

smtp-sink -u nobody "127.0.0.1:$port" 100 2>/dev/null &
sink=$!
trap 'kill $sink; rm -rf "$work"' EXIT

# As it is installed: what the linker wrote lies in the page cache in smaller pieces, which makes each start dearer.
cp "$postmend" "$work/postmend"
for program in pipe measure; do
	gcc -O2 -o "$work/$program" "$here/$program.c"
done
(umask 077 && head -c 18 /dev/urandom | base64 >"$work/secrets")
"$postmend" dkim genkey --domain example.org --selector bench --file "$work/key.pem" >/dev/null 2>&1
cat >"$work/postmend.toml" <<END
hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
store = "dir:$work/store"
[[dkim.keys]]
domain = "example.org"
selector = "bench"
file = "key.pem"
[reinject]
target = "smtp://127.0.0.1:$port"
END

mkdir -m 700 "$work/store"

# message BODY_OCTETS
message() {
	printf 'From: alice@example.org\nTo: alias@example.org\nSubject: bench\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@sender.example>\n\n'
	yes 'All work and no play makes Jack a dull boy, and this line is as long as lines are.' | head -c "$1"
}

measure() {
	echo "$1"
	"$work/measure" "$3" "$2" \
		'C, passes stdin on' "exec $work/pipe $port alice@sender.example bob@example.com" \
		'postmend filter' "exec $work/postmend filter -c $work/postmend.toml -f alice@sender.example --sasl-username=alice -- bob@example.com" \
		'the same, a new sender is stored' "exec $work/postmend filter -c $work/postmend.toml -f bounces+\$\$-7c3e-alias=example.org-with-a-long-verp@em1234.sender.example --sasl-username=alice -- bob@example.com"
	echo
}

message 10000 >"$work/small"
message 50000000 >"$work/large"
# The sink listens when it takes a message.
until "$work/pipe" "$port" a@b c@d <"$work/small" >/dev/null; do kill -0 $sink; done
measure '10 kB' "$work/small" "${RUNS:-101}"
measure '50 MB' "$work/large" 5
sh "$here/system.sh" "$postmend"
sh "$here/door.sh" "$postmend"
sh "$here/tables.sh" "$postmend"
