#!/bin/sh
# The milter beside OpenDKIM and OpenDMARC, which verify the same message: CPU of the daemons, without Postfix, as
# the kernel counts it in a cgroup of each. Each message comes in a conversation of its own. Needs root and cgroup
# v2; it makes a network namespace, where the DNS server has port 53. The first argument is the program.
set -eu

if [ "${DOOR_INSIDE:-}" != yes ]; then
	DOOR_INSIDE=yes exec unshare -n -m sh "$0" "$@"
fi
postmend=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
rounds=${ROUNDS:-5}
messages=${MESSAGES:-500}
command -v opendmarc >/dev/null || { echo 'door.sh needs OpenDMARC' >&2; exit 1; }
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/postmend-door.$$
work=$(mktemp -d)
chmod 755 "$work"
started=
cleanup() {
	for group in "$groups"/*/; do
		while grep -q . "$group/cgroup.procs"; do
			# shellcheck disable=SC2046
			kill $(cat "$group/cgroup.procs") 2>/dev/null || true
			sleep 0.1
		done
		rmdir "$group"
	done
	# shellcheck disable=SC2086
	[ -z "$started" ] || kill $started 2>/dev/null || true
	rmdir "$groups"
	rm -rf "$work"
}
mkdir "$groups" "$groups/postmend" "$groups/others"
trap cleanup EXIT
trap 'exit 1' INT TERM
ip link set lo up
echo 'nameserver 127.0.0.1' >"$work/resolv.conf"
mount --bind "$work/resolv.conf" /etc/resolv.conf
(cd "$here/../.." && CGO_ENABLED=0 go build -o "$work/" ./tests/bench/doormta ./tests/bench/dns)

for domain in example.org sender.example; do
	"$postmend" dkim genkey --domain $domain --selector bench --file "$work/$domain.pem" >/dev/null 2>&1
	"$postmend" dkim record --domain $domain --selector bench --file "$work/$domain.pem" |
		sed 's/\.* IN TXT//; s/" "//g; s/"//g; s/ / TXT /' >>"$work/zone"
done
cat >>"$work/zone" <<'END'
sender.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
END
"$work/dns" 127.0.0.1:53 <"$work/zone" >/dev/null &
started="$started $!"

printf 'From: alice@sender.example\nTo: alias@example.org\nSubject: bench\nDate: %s\nMessage-ID: <1@sender.example>\n\n' \
	"$(date -R)" >"$work/plain"
yes 'All work and no play makes Jack a dull boy, and this line is as long as lines are.' | head -n 120 >>"$work/plain"
"$postmend" dkim sign --domain sender.example --selector bench --file "$work/sender.example.pem" <"$work/plain" >"$work/foreign"
# What OpenDKIM would have put there for OpenDMARC.
{ printf 'Authentication-Results: mx.example.org;\n\tdkim=pass (2048-bit key) header.d=sender.example header.i=@sender.example\n'; cat "$work/foreign"; } >"$work/verified"

(umask 077 && head -c 18 /dev/urandom | base64 >"$work/secrets")
cat >"$work/postmend.toml" <<'END'
hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
END
cat >"$work/opendkim.conf" <<END
Mode v
Socket inet:2001@127.0.0.1
Syslog yes
Background no
UserID nobody
AuthservID mx.example.org
InternalHosts 203.0.113.1
Nameservers 127.0.0.1
END
cat >"$work/opendmarc.conf" <<END
Socket inet:2002@127.0.0.1
Syslog yes
UserID nobody
AuthservID mx.example.org
TrustedAuthservIDs mx.example.org
SPFSelfValidate true
SPFIgnoreResults true
END
in_group() {
	group=$groups/$1
	shift
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}
in_group postmend "$postmend" serve -c "$work/postmend.toml" --milter inet:127.0.0.1:2000 &
in_group others opendkim -x "$work/opendkim.conf" &
in_group others opendmarc -f -c "$work/opendmarc.conf" &
usage() { awk '$1 == "usage_usec" { print $2 }' "$groups/$1/cpu.stat"; }
until "$work/doormta" tcp 127.0.0.1:2000 20 4 "$work/foreign" 2>/dev/null && "$work/doormta" tcp 127.0.0.1:2001 20 4 "$work/foreign" 2>/dev/null &&
	"$work/doormta" tcp 127.0.0.1:2002 20 4 "$work/verified" 2>/dev/null; do
	sleep 0.2
done

# All three find out the same.
for at in "2000 foreign" "2001 foreign" "2002 verified"; do
	# shellcheck disable=SC2086
	set -- $at
	"$work/doormta" tcp "127.0.0.1:$1" 1 1 "$work/$2" show >>"$work/found"
done
grep -q 'mx.example.org.*spf=pass.*dkim=pass.*dmarc=pass' "$work/found" && grep -q 'dkim=pass' "$work/found" &&
	[ "$(grep -c 'dmarc=pass' "$work/found")" = 2 ] && [ "$(grep -c 'dkim=pass' "$work/found")" = 2 ] ||
	{ cat "$work/found" >&2; exit 1; }

for round in $(seq "$rounds"); do
	before=$(usage postmend)
	"$work/doormta" tcp 127.0.0.1:2000 "$messages" 4 "$work/foreign"
	echo "postmend $((($(usage postmend) - before) / messages))" >>"$work/figures"
	before=$(usage others)
	"$work/doormta" tcp 127.0.0.1:2001 "$messages" 4 "$work/foreign"
	"$work/doormta" tcp 127.0.0.1:2002 "$messages" 4 "$work/verified"
	echo "others $((($(usage others) - before) / messages))" >>"$work/figures"
	[ ! -t 2 ] || printf '\rround %s of %s ' "$round" "$rounds" >&2
done
median() { awk -v s="$1" '$1 == s { print $2 }' "$work/figures" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "milters alone, 10 kB messages, medians of $rounds rounds of $messages messages:"
awk -v ours="$(median postmend)" -v theirs="$(median others)" 'BEGIN {
	printf "  %-28s %8.3f ms CPU/message\n", "postmend serve --milter", ours / 1000
	printf "  %-28s %8.3f ms CPU/message\n", "OpenDKIM and OpenDMARC", theirs / 1000
	printf "  ratio %.2f\n", ours / theirs
}'

# Memory: 500 conversations with 10 kB at once, then 20 with 100 MB.
rss() { awk '/VmHWM/ { print $2 }' "/proc/$(head -1 "$groups/postmend/cgroup.procs")/status"; }
"$work/doormta" tcp 127.0.0.1:2000 2000 500 "$work/foreign"
echo "  peak memory after 500 conversations at once: $(rss) kB"
{ sed '/^$/q' "$work/foreign"; yes 'a line of a body that is a hundred megabytes long, in all' | head -n 1700000; } >"$work/large"
"$work/doormta" tcp 127.0.0.1:2000 20 10 "$work/large"
echo "  peak memory after 100 MB bodies, ten at once: $(rss) kB"
