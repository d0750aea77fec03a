#!/bin/sh
# Whole systems side by side: what a message costs from smtpd to the next hop, with each way of mending it, interleaved in one run.
#
# Every system is a private Postfix on loopback, in a cgroup of its own with all that it starts (filters, milters, daemons; not the
# smtp-source and smtp-sink at its ends, nor the DNS server). CPU is that cgroup's, as the kernel counts it, so what else the machine does is
# not in it, though it makes caches colder and the wall time longer. The order changes in each round. Everything lies on a tmpfs: a disk's file
# system searches for free inodes. Needs root and cgroup v2; it makes two network namespaces: one for the systems, where the DNS server has port 53,
# because OpenDKIM and OpenDMARC ask no other, and one for the client, because mail from an address of this host would be that of a program here.
# The first argument is the program; SYSTEMS in the environment names the ones to take, all by default. BEFORE names an earlier program to
# compare with.
set -eu

if [ "${SYSTEM_INSIDE:-}" != yes ]; then
	SYSTEM_INSIDE=yes exec unshare -n -m sh "$0" "$@"
fi
ip link set lo up
unshare --net sleep infinity &
outside=$!
postmend=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
rounds=${ROUNDS:-7}
messages=${MESSAGES:-200}
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/postmend-bench.$$
work=$(mktemp -d)
mount -t tmpfs -o size=4g,mode=755 tmpfs "$work"
mkdir "$work/bin" "$work/built"
started=$outside
sinking=
systems=

cleanup() {
	# shellcheck disable=SC2086
	kill $started $sinking 2>/dev/null || true
	# shellcheck disable=SC2086
	wait $started $sinking 2>/dev/null || true
	for system in $systems; do
		until rmdir "$groups/$system" 2>/dev/null; do
			# shellcheck disable=SC2046
			kill $(cat "$groups/$system/cgroup.procs") 2>/dev/null || true
			sleep 0.1
		done
	done
	rmdir "$groups"
	umount "$work" && rmdir "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir "$groups"

port=${PORT:-24700}
next_port() { port=$((port + 1)); }
# wait_port PORT: until somebody listens there.
wait_port() { until "$work/bin/listening" "$1"; do sleep 0.05; done; }

gcc -O2 -o "$work/bin/pipe" "$here/pipe.c"
cat >"$work/bin/listening.c" <<'END'
#include <arpa/inet.h>
#include <stdlib.h>
int main(int c, char **v)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c > 1 ? atoi(v[1]) : 0), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *) &a, sizeof(a)) != 0;
}
END
gcc -O2 -o "$work/bin/listening" "$work/bin/listening.c"

# Keys, secrets, DNS. The sender signs, passes SPF, and publishes p=reject; smtp-source's address is a stranger's to the second configuration.
(cd "$here/../.." && CGO_ENABLED=0 go build -o "$work/built/" ./tests/bench/bare ./tests/bench/dns)
cp "$work/built/"* "$work/bin" # like what is installed: what a linker wrote lies in the page cache in smaller pieces, and is dearer to start
(umask 077 && head -c 18 /dev/urandom | base64 >"$work/secrets")
for domain in example.org sender.example; do
	"$postmend" dkim genkey --domain $domain --selector bench --file "$work/$domain.pem" >/dev/null 2>&1
	"$postmend" dkim record --domain $domain --selector bench --file "$work/$domain.pem" | sed 's/\.* IN TXT//; s/" "//g; s/"//g; s/ / TXT /' >>"$work/zone"
done
cat >>"$work/zone" <<'END'
sender.example TXT v=spf1 ip4:192.0.2.8 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
END
resolver=127.0.0.1:53
echo 'nameserver 127.0.0.1' >"$work/resolv.conf"
mount --bind "$work/resolv.conf" /etc/resolv.conf
"$work/bin/dns" "$resolver" <"$work/zone" >/dev/null &
started="$started $!"

while [ "$(readlink "/proc/$outside/ns/net")" = "$(readlink "/proc/$$/ns/net")" ]; do sleep 0.05; done
ip link add mx type veth peer name client netns "$outside"
ip address add 192.0.2.7/24 dev mx
ip link set mx up
from_outside() { nsenter --net="/proc/$outside/ns/net" "$@"; }
from_outside ip address add 192.0.2.8/24 dev client
from_outside ip link set client up

# The sink keeps what it gets until the systems are warm.
next_port
sink=$port
start_sink() {
	smtp-sink -u nobody "$@" "127.0.0.1:$sink" 1000 &
	sinking=$!
	wait_port "$sink"
}
mkdir "$work/sink" && chown nobody "$work/sink"
start_sink -d "$work/sink/%s."

body() { yes 'All work and no play makes Jack a dull boy, and this line is as long as lines are.' | head -c 10000; }
header() { printf 'From: %s\nTo: alias@example.org\nSubject: bench\nDate: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@sender.example>\n\n' "$1"; }
{ header alice@example.org; body; } >"$work/own"
{ header alice@sender.example; body; } |
	"$postmend" dkim sign --domain sender.example --selector bench --file "$work/sender.example.pem" >"$work/foreign"

# config FILE LISTENER MORE
config() {
	cat >"$1" <<END
hostname = "mx.example.org"
local_domains = ["example.org"]
resolver = "$resolver"
$3
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
[[dkim.keys]]
domain = "example.org"
selector = "bench"
file = "example.org.pem"
[reinject]
target = "smtp://127.0.0.1:$2"
END
}

# new_postfix SYSTEM MAIN MASTER SMTPD: a private Postfix in a cgroup of its own. Its smtpd is at $port.
new_postfix() {
	case " ${SYSTEMS:-$1} " in *" $1 "*) ;; *) return ;; esac
	dir=$work/$1
	systems="$systems $1"
	eval "port_$1=$port"
	mkdir -p "$dir/spool" "$dir/data" "$dir/log" "$groups/$1"
	: >"$dir/log/mail"
	chown postfix "$dir/data"
	cat >"$dir/main.cf" <<END
compatibility_level = 3.6
queue_directory = $dir/spool
data_directory = $dir/data
maillog_file = $dir/log/mail
maillog_file_prefixes = $dir
inet_interfaces = 127.0.0.1, 192.0.2.7
inet_protocols = ipv4
myhostname = mx.example.org
mydestination =
mynetworks = 127.0.0.0/8, 192.0.2.0/24
smtpd_peername_lookup = no
alias_maps =
alias_database =
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:$sink
$2
END
	cat >"$dir/master.cf" <<END
$port     inet n - n - - smtpd $4
postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 60 1 pickup -o content_filter=
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
$3
END
}

# in_group SYSTEM COMMAND...
in_group() {
	group=$groups/$1
	shift
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}

# The lines that docs/postfix.md gives to operators, with this run's program, configuration and ports.
documented_master() { # CONFIG LISTENER [PROGRAM]
	sed -n '/^```master.cf$/,/^```$/p' "$here/../../docs/postfix.md" | sed "1d;\$d
		s|/usr/local/bin/postmend filter|$work/bin/${3:-postmend} filter -c $1|
		s|user=postmend|user=nobody|
		s|127.0.0.1:10026|127.0.0.1:$2|"
}
listener_of() { documented_master x "$1" | sed -n "/^127.0.0.1:/,\$p"; }
simple_filter() { # LISTENER ARGV
	echo "postmend unix - n n - 20 pipe flags=q user=nobody null_sender= argv=$2"
	listener_of "$1"
}
own_client='trusted_networks = ["192.0.2.0/24"]'
filtered='content_filter = postmend:dummy
postmend_destination_recipient_limit = 1'

cp "$postmend" "$work/bin/postmend"
chown nobody "$work/secrets" "$work/example.org.pem"

next_port
new_postfix postfix '' '' ''
next_port; next_port
new_postfix pipe "$filtered" "$(simple_filter $((port - 1)) "$work/bin/pipe $((port - 1)) \${sender} \${recipient}")" ''
next_port; next_port
config "$work/own.toml" $((port - 1)) "$own_client"
new_postfix signing "$filtered" "$(documented_master "$work/own.toml" $((port - 1)))" ''
next_port; next_port
config "$work/all.toml" $((port - 1)) 'trusted_networks = []'
new_postfix everything "$filtered" "$(documented_master "$work/all.toml" $((port - 1)))" ''
if [ -n "${BEFORE:-}" ]; then
	cp "$BEFORE" "$work/bin/before"
	next_port; next_port
	config "$work/own_before.toml" $((port - 1)) "$own_client"
	new_postfix before_signing "$filtered" "$(documented_master "$work/own_before.toml" $((port - 1)) before)" ''
	next_port; next_port
	config "$work/all_before.toml" $((port - 1)) 'trusted_networks = []'
	new_postfix before_everything "$filtered" "$(documented_master "$work/all_before.toml" $((port - 1)) before)" ''
fi
# bare LISTENER SIGNATURES NAME...: the calls of the standard library that signing, or everything, cannot do without.
bare() {
	listener=$1 signatures=$2
	shift 2
	simple_filter "$listener" "$work/bin/bare $listener \${sender} \${recipient} $work/example.org.pem $signatures $resolver $*"
}
next_port; next_port
new_postfix bare_signing "$filtered" "$(bare $((port - 1)) 1)" ''
next_port; next_port
new_postfix bare_everything "$filtered" "$(bare $((port - 1)) 3 sender.example _dmarc.sender.example bench._domainkey.sender.example)" ''
next_port
mkdir "$work/scratch" && chown nobody "$work/scratch"
new_postfix shell "$filtered" "postmend unix - n n - 20 pipe flags=q user=nobody null_sender= argv=$here/filter.sh $work/scratch -f \${sender} -- \${recipient}" ''
next_port; next_port
new_postfix dkimpy "$filtered" "$(simple_filter $((port - 1)) "/usr/bin/python3 $here/dkimpy.py $((port - 1)) $work/example.org.pem \${sender} \${recipient}")" ''
next_port; next_port; next_port; next_port
forward=$((port - 1)) reverse=$((port - 2)) milter=$((port - 3))
new_postfix milter "smtpd_milters = inet:127.0.0.1:$milter
sender_canonical_maps = tcp:127.0.0.1:$forward
sender_canonical_classes = envelope_sender
recipient_canonical_maps = tcp:127.0.0.1:$reverse
recipient_canonical_classes = envelope_recipient" '' ''

cat >"$work/opendkim.conf" <<END
Mode s
Canonicalization relaxed/relaxed
Domain example.org
Selector bench
KeyFile $work/opendkim.pem
Socket inet:$milter@127.0.0.1
Syslog no
Background no
InternalHosts 192.0.2.0/24
UserID nobody
RequireSafeKeys no
END
cp "$work/example.org.pem" "$work/opendkim.pem" && chown nobody "$work/opendkim.pem"
case $systems in *milter*)
	in_group milter opendkim -x "$work/opendkim.conf" &
	in_group milter postsrsd -s "$work/secrets" -d srs.example.org -f $forward -r $reverse -4 &
	wait_port $milter
	wait_port $forward
	;;
esac

# OpenDKIM that verifies, OpenDMARC with its own SPF, a second OpenDKIM that signs (one does not do both to a message), PostSRSd.
next_port; next_port; next_port; next_port; next_port; next_port
forward=$((port - 1)) reverse=$((port - 2)) verifier=$((port - 3)) judge=$((port - 4)) milter=$((port - 5))
new_postfix opendmarc "smtpd_milters = inet:127.0.0.1:$verifier, inet:127.0.0.1:$judge, inet:127.0.0.1:$milter
sender_canonical_maps = tcp:127.0.0.1:$forward
sender_canonical_classes = envelope_sender
recipient_canonical_maps = tcp:127.0.0.1:$reverse
recipient_canonical_classes = envelope_recipient" '' ''
case " $systems " in *" opendmarc "*)
	cat >"$work/verify.conf" <<END
Mode v
Socket inet:$verifier@127.0.0.1
Syslog no
Background no
UserID nobody
AuthservID mx.example.org
InternalHosts 203.0.113.1
Nameservers 127.0.0.1
END
	echo 203.0.113.1 >"$work/ignored"
	cat >"$work/opendmarc.conf" <<END
Socket inet:$judge@127.0.0.1
Syslog no
UserID nobody
AuthservID mx.example.org
TrustedAuthservIDs mx.example.org
IgnoreHosts $work/ignored
SPFSelfValidate true
SPFIgnoreResults true
END
	echo "bench example.org:bench:$work/opendkim.pem" >"$work/keytable"
	echo '* bench' >"$work/signingtable"
	{
		grep -v -e '^Domain' -e '^Selector' -e '^KeyFile' -e '^Socket' "$work/opendkim.conf"
		printf 'Socket inet:%s@127.0.0.1\nKeyTable file:%s\nSigningTable refile:%s\n' "$milter" "$work/keytable" "$work/signingtable"
	} >"$work/sign.conf"
	in_group opendmarc opendkim -x "$work/verify.conf" &
	in_group opendmarc opendmarc -f -c "$work/opendmarc.conf" &
	in_group opendmarc opendkim -x "$work/sign.conf" &
	in_group opendmarc postsrsd -s "$work/secrets" -d srs.example.org -f $forward -r $reverse -4 &
	for at in $verifier $judge $milter $forward; do wait_port "$at"; done
	;;
esac

# serve_lmtp SYSTEM CONFIG PORT: the resident process, as master.cf for LMTP names it.
serve_lmtp() {
	case " $systems " in *" $1 "*) ;; *) return ;; esac
	in_group "$1" setpriv --reuid=nobody --clear-groups "$work/bin/postmend" serve -c "$2" --lmtp "inet:127.0.0.1:$3" &
	wait_port "$3"
}
by_lmtp() { # LISTENER
	sed -n '/^```master.cf lmtp$/,/^```$/p' "$here/../../docs/postfix.md" | sed '1d;$d'
	listener_of "$1"
}
next_port; next_port; next_port
config "$work/serve.toml" $((port - 1)) 'trusted_networks = []'
new_postfix serve "content_filter = postmend:inet:127.0.0.1:$((port - 2))" "$(by_lmtp $((port - 1)))" ''
serve_lmtp serve "$work/serve.toml" $((port - 2))
next_port; next_port; next_port
config "$work/needed.toml" $((port - 1)) 'trusted_networks = []'
printf '[arc]\nseal = "when-needed"\n' >>"$work/needed.toml"
new_postfix serve_needed "content_filter = postmend:inet:127.0.0.1:$((port - 2))" "$(by_lmtp $((port - 1)))" ''
serve_lmtp serve_needed "$work/needed.toml" $((port - 2))
next_port; next_port; next_port
config "$work/serve_own.toml" $((port - 1)) "$own_client"
new_postfix serve_signing "content_filter = postmend:inet:127.0.0.1:$((port - 2))" "$(by_lmtp $((port - 1)))" ''
serve_lmtp serve_signing "$work/serve_own.toml" $((port - 2))

# A process for each connection of lmtp(8).
next_port; next_port
config "$work/spawned.toml" $((port - 1)) 'trusted_networks = []'
new_postfix spawned 'content_filter = postmend:unix:private/postmend-lmtp' "$(by_lmtp $((port - 1)))
postmend-lmtp unix - n n - 0 spawn user=nobody argv=$work/bin/postmend lmtp -c $work/spawned.toml" ''

# Once a message, whatever its recipients: what setup writes in transport mode.
next_port; next_port
config "$work/transport.toml" $((port - 1)) 'trusted_networks = []'
new_postfix transport 'default_transport = postmend:
postmend_destination_recipient_limit = 50' "$(documented_master "$work/transport.toml" $((port - 1)) |
	sed "s/-o content_filter=\$/-o content_filter=smtp:[127.0.0.1]:$sink/")" ''

# rspamd with nothing but SPF, DKIM, DMARC, ARC: it verifies, signs and seals; PostSRSd beside it.
next_port; next_port; next_port; next_port
forward=$((port - 1)) reverse=$((port - 2)) milter=$((port - 3))
new_postfix rspamd "smtpd_milters = inet:127.0.0.1:$milter
sender_canonical_maps = tcp:127.0.0.1:$forward
sender_canonical_classes = envelope_sender
recipient_canonical_maps = tcp:127.0.0.1:$reverse
recipient_canonical_classes = envelope_recipient" '' ''
case " $systems " in *" rspamd "*)
	mkdir "$work/rspamd.d" && chown nobody "$work/rspamd.d"
	sed "s|{dir}|$work/rspamd.d|g; s|{port}|$milter|; s|{resolver}|$resolver|; s|{key}|$work/opendkim.pem|" "$here/rspamd.conf" >"$work/rspamd.conf"
	in_group rspamd rspamd -f -i -u nobody -g nogroup -c "$work/rspamd.conf" 2>"$work/rspamd.log" &
	in_group rspamd postsrsd -s "$work/secrets" -d srs.example.org -f $forward -r $reverse -4 &
	wait_port $milter
	wait_port $forward
	;;
esac

for system in $systems; do
	dir=$work/$system
	if [ "$system" = shell ]; then
		# sendmail(1) goes by /etc/postfix when it is not root, so this one has it, in a mount namespace of its own.
		cp -a /etc/postfix "$dir/etc"
		cp "$dir/main.cf" "$dir/master.cf" "$dir/etc"
		# shellcheck disable=SC2016
		in_group "$system" unshare -m sh -c 'mount --bind "$0" /etc/postfix && postfix start' "$dir/etc"
	else
		in_group "$system" postfix -c "$dir" start
	fi >/dev/null 2>"$dir/start.log" || { cat "$dir/start.log" >&2; exit 1; }
	eval "wait_port \$port_$system"
done

usage() { awk '$1 == "usage_usec" { print $2 }' "$groups/$1/cpu.stat"; }
now() { date +%s%N; }
delivered() { grep -c "relay=127.0.0.1\[127.0.0.1\]:$sink,.*status=sent" "$work/$1/log/mail" || true; }

# batch SYSTEM MESSAGES RECIPIENTS: sends that many, waits until the next hop has them, and notes CPU us and wall ns of one.
batch() {
	input=$work/own from=alice@sender.example
	case $1 in *everything | serve | serve_needed | spawned | transport | rspamd | opendmarc) input=$work/foreign ;; esac
	eval "to=\$port_$1"
	want=$(($(delivered "$1") + $2 * $3))
	before=$(usage "$1") since=$(now)
	from_outside smtp-source -s 4 -m "$2" -r "$3" -f $from -t bob@example.com -F "$input" "192.0.2.7:$to"
	until [ "$(delivered "$1")" -ge "$want" ]; do
		[ $(($(now) - since)) -lt 240000000000 ] || { echo "$1 does not deliver:" >&2; tail -5 "$work/$1/log/mail" >&2; exit 1; }
		sleep 0.02
	done
	took=$(($(now) - since))
	name=$1
	[ "$3" = 1 ] || name=$1_$3
	echo "$name $((($(usage "$1") - before) / $2)) $((took / $2))" >>"$work/figures"
}

# What one round measures: SYSTEM MESSAGES RECIPIENTS.
measurements() {
	for system in $systems; do
		case $system in
		dkimpy) echo $system $((messages / 5)) 1 ;;
		*) echo $system $messages 1 ;;
		esac
		case $system in
		transport | serve | spawned) echo $system $((messages / 4)) 10 ;;
		everything) echo $system $((messages / 20)) 10 ;;
		esac
	done
}

# does_its_work SYSTEM: whether the 20 messages that the sink keeps are what the table says.
does_its_work() {
	case $1 in
	postfix | pipe | bare_* | shell) return ;;
	dkimpy) wanted='d=example.org' ;;
	*signing | serve_needed | milter | opendmarc) wanted='d=example.org ^X-Mail-Args:.<SRS0=' ;;
	rspamd) wanted='d=example.com ^X-Mail-Args:.<SRS0= ^ARC-Seal:' ;;
	*) wanted='d=example.org ^X-Mail-Args:.<SRS0= ^ARC-Seal:' ;;
	esac
	for pattern in $wanted; do
		[ "$(grep -l "$pattern" "$work/sink/"* | wc -l)" -eq 20 ] || { echo "$1: no $pattern in what it sends" >&2; exit 1; }
	done
}
for system in $systems; do # warms up
	rm -f "$work/sink/"*
	batch "$system" 20 1
	does_its_work "$system"
done
kill $sinking
wait $sinking 2>/dev/null || true
start_sink
: >"$work/figures"
for round in $(seq "$rounds"); do
	measurements | shuf >"$work/order"
	while read -r system n recipients; do batch "$system" "$n" "$recipients" </dev/null; done <"$work/order"
	[ ! -t 2 ] || printf '\rround %s of %s ' "$round" "$rounds" >&2
done
[ ! -t 2 ] || echo >&2
! grep -hE 'status=(deferred|bounced)|fatal|panic|warning: (process|unix_trigger)' "$work"/*/log/mail >&2 || { echo 'something went wrong: see above' >&2; exit 1; }

echo "whole system, 10 kB messages, medians of $rounds rounds of $messages messages:"
for system in $(measurements | awk '{ print $3 == 1 ? $1 : $1 "_" $3 }'); do
	awk -v s="$system" '$1 == s { print $2, $3 }' "$work/figures" | sort -n | awk -v s="$system" '
		{ cpu[NR] = $1; wall[NR] = $2 }
		END { print s, cpu[int((NR + 1) / 2)], cpu[1] }' >>"$work/cpu"
	awk -v s="$system" '$1 == s { print $3 }' "$work/figures" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }' >>"$work/wall"
done
paste -d ' ' "$work/cpu" "$work/wall" | awk '
	BEGIN {
		title["postfix"] = "Postfix alone"
		title["pipe"] = "C, passes stdin on"
		title["signing"] = "postmend: SRS, DKIM"
		title["everything"] = "postmend: everything"
		title["before_signing"] = "before: SRS, DKIM"
		title["before_everything"] = "before: everything"
		title["bare_signing"] = "bare Go, 1 RSA signature"
		title["bare_everything"] = "bare Go, 3, 3 DNS look-ups"
		title["shell"] = "shell filter, sendmail"
		title["dkimpy"] = "dkimpy script"
		title["milter"] = "PostSRSd, OpenDKIM (signs)"
		title["serve_signing"] = "serve: SRS, DKIM"
		title["serve"] = "serve: everything"
		title["serve_needed"] = "serve, ARC when needed"
		title["serve_10"] = "serve, 10 recipients"
		title["spawned"] = "LMTP by spawn: everything"
		title["spawned_10"] = "LMTP by spawn, 10 recipients"
		title["opendmarc"] = "PostSRSd, OpenDKIM/OpenDMARC"
		title["transport"] = "transport: everything"
		title["transport_10"] = "transport, 10 recipients"
		title["everything_10"] = "everything, 10 recipients"
		title["rspamd"] = "PostSRSd, rspamd: the same"
		printf "  %-28s %14s %14s %12s %10s\n", "", "CPU ms/message", "least CPU ms", "messages/s", "CPU ratio"
	}
	{ line[NR] = $0; if ($1 == "pipe") floor = $2 }
	END {
		for (i = 1; i <= NR; i++) {
			split(line[i], f, " ")
			printf "  %-28s %14.2f %14.2f %12.0f %9.2fx\n", title[f[1]], f[2] / 1000, f[3] / 1000, 1e9 / f[4], f[2] / floor
		}
	}'
