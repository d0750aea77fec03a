#!/bin/sh
# Runs within what systemd.sh boots.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8

say() { printf '== %s\n' "$*"; }
fail() {
	printf 'FAILED: %s\n' "$*"
	tail -n 20 /var/log/mail.log
	systemctl --no-pager --lines=5 status postmend.service postmend.socket postmend-lmtp.socket || true
	exit 1
}
# await WHAT COMMAND... runs a command until it succeeds, for at most two minutes.
await() {
	what=$1
	shift
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || fail "no end: $what"
		sleep 0.2
	done
}
all_active() { [ "$(systemctl is-active "$@" | sort -u)" = active ]; }
queue_is_empty() { postqueue -p | grep -q 'queue is empty'; }
logged() { grep -q -e "$1" /var/log/mail.log; }
count() { grep -c -e "$1" /var/log/mail.log || true; }
# as_documented FILE KIND runs the commands of a code block in a document, without DNS.
as_documented() {
	zcat -f /usr/share/doc/postmend/"$1"* | sed -n "/^\`\`\`sh $2\$/,/^\`\`\`\$/p" | sed '1d;$d' |
		sed 's/^postmend \(setup\|check\)/& --no-dns/' >/root/commands
	[ -s /root/commands ] || fail "$1 has no commands for: $2"
	sh -eu /root/commands >/root/done 2>&1 || fail "$1, $2: $(cat /root/done)"
}
# send NUMBER gives Postfix messages that leave, and forgets what was logged.
send() {
	: >/var/log/mail.log
	smtp-source -m "$1" -s 8 -f alice@example.org -t bob@remote.example inet:127.0.0.1:25
}
have_left() { [ "$(count 'postfix/smtp\[.*status=sent')" -ge "$1" ]; }
# all_sent NUMBER: each has left; a second copy comes only where the process was killed.
all_sent() {
	postqueue -f
	await 'the queue' queue_is_empty
	await "$1 messages that left, by the log" have_left "$1"
	[ "$(count status=bounced)" = 0 ] || fail 'bounces'
}

ip link set lo up
postconf -e myhostname=mx.example.org 'mydestination=example.org, localhost' inet_protocols=ipv4 inet_interfaces=loopback-only \
	'relayhost=[127.0.0.1]:2525' smtp_dns_support_level=disabled
systemctl restart postfix
systemd-run --quiet --unit=sink smtp-sink -u nobody 127.0.0.1:2525 100
dpkg -i /root/postmend.deb >/dev/null 2>&1

say 'setup names the commands, and they work'
postmend setup --prepare --no-dns >/dev/null
lmtp=unix:/var/spool/postfix/postmend/lmtp
if said=$(postmend setup --apply --no-dns --no-milter --lmtp $lmtp 2>&1); then fail 'setup went on without serve'; fi
command=$(echo "$said" | sed -n 's/.*Debian package: \(systemctl .*postmend.service\); then run.*/\1/p')
[ -n "$command" ] || fail "setup does not tell how to start serve: $said"
sh -c "$command"
all_active postmend-lmtp.socket postmend.service || fail 'the units'
postmend setup --apply --no-dns --no-milter --lmtp $lmtp >/dev/null
send 5
all_sent 5

say 'the commands of docs/postfix.md and docs/milter.md: one process serves both sockets'
as_documented postfix.md 'serve lmtp'
as_documented milter.md 'serve milter'
all_active postmend.socket postmend-lmtp.socket postmend.service || fail 'the units of the documents'
send 5
all_sent 5
[ "$(count 'postmend\[.*: milter: client=')" = 5 ] || fail 'the milter'
postmend check --no-dns >/root/checked || fail "check: $(cat /root/checked)"

say 'reload, with a configuration that is valid, and one that is not'
: >/var/log/mail.log
systemctl reload postmend
await 'reload' logged 'configuration reloaded'
cp /etc/postmend/postmend.toml /root/good
echo 'oops = 1' >>/etc/postmend/postmend.toml
systemctl reload postmend
await 'reload of what is not valid' logged 'configuration not reloaded'
send 5
all_sent 5

say 'a start with a configuration that is not valid waits for one that is'
if systemctl restart postmend 2>/dev/null; then fail 'it started'; fi
all_active postmend.socket postmend-lmtp.socket || fail 'the sockets'
cp /root/good /etc/postmend/postmend.toml
await 'start' all_active postmend.service
send 5
all_sent 5

say 'the sockets start the service'
systemctl stop postmend.service 2>/dev/null
send 1
all_sent 1
all_active postmend.service || fail 'the service'

say 'restarts and an upgrade under load'
send 400 &
for _ in 1 2 3; do
	sleep 0.5
	systemctl restart postmend
done
before=$(systemctl show --property=MainPID --value postmend)
dpkg -i /root/postmend.deb >/dev/null 2>&1
[ "$(systemctl show --property=MainPID --value postmend)" != "$before" ] || fail 'the upgrade restarts nothing'
wait $!
all_sent 400

say 'crashes under load'
send 400 &
for _ in 1 2 3; do
	sleep 0.5
	systemctl kill --signal=KILL postmend
	await 'another start' all_active postmend.service
done
wait $!
all_sent 400

say 'nothing is left'
if dpkg -r postmend >/dev/null 2>&1; then fail 'removed while in use'; fi
postmend setup --undo >/dev/null
dpkg -r postmend >/dev/null 2>&1 || fail 'not removed'
for unit in postmend.service postmend.socket postmend-lmtp.socket; do
	if systemctl --quiet is-active $unit; then fail "$unit is active"; fi
done
echo 'all is well'
