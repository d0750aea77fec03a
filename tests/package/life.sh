#!/bin/sh
# The life of the Debian package on a fresh host with Postfix as Debian installs it: `make test-deb` runs it as
# root in a root folder of its own, without a network.
set -eu

say() { printf '\n== %s\n' "$*"; }
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

# refused COMMAND... runs a command that has to fail, and leaves its output in $output.
refused() {
	if output=$("$@" 2>&1); then
		fail "succeeded: $*"
	fi
}
says() { case $output in *"$1"*) ;; *) fail "does not say \"$1\": $output" ;; esac; }

install() { dpkg -i "$1" >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail "dpkg -i $1"; }; }
# await WHAT COMMAND... runs a command until it succeeds, for at most two minutes.
await() {
	what=$1
	shift
	seconds=0
	until "$@"; do
		[ $seconds -lt 240 ] || { postqueue -p; tail -n 30 /var/log/mail.log; fail "no end: $what"; }
		seconds=$((seconds + 1))
		sleep 0.5
	done
}
# send NUMBER gives Postfix so many messages by SMTP, from a host outside: what comes from an address of this host is its own mail.
send() {
	nsenter --net="/proc/$outside/ns/net" smtp-source -c -A -s 4 -l 2000 -m "$1" -S load -f alice@sender.example -t user@example.org inet:192.0.2.7:25 >/dev/null
}
delivered() { find /home/user -path "*/Maildir/new/*" -type f | wc -l; }
has_delivered() { [ "$(delivered)" -ge "$1" ]; }
queue_is_empty() { postqueue -p | grep -q 'queue is empty'; }
names_us() { grep -q '^[^#]*/usr/bin/postmend' /etc/postfix/master.cf; }
checksum() { (cd /etc/postfix && find . -type f -exec sha256sum {} + | sort); }

work=$(mktemp -d)
unshare --net sleep infinity &
outside=$!
trap 'postfix stop >/dev/null 2>&1 || true; kill $outside; rm -rf "$work"' EXIT
# Not postlogd(8): with a short queue of datagrams, master(8) may wait for ever for it during a reload.
touch /var/log/mail.log
rsyslogd
export DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH=1780000000
await 'a network outside' test ! /proc/$outside/ns/net -ef /proc/$$/ns/net
ip link add mx type veth peer name client netns $outside
ip address add 192.0.2.7/24 dev mx
ip link set mx up
nsenter --net=/proc/$outside/ns/net ip address add 192.0.2.8/24 dev client
nsenter --net=/proc/$outside/ns/net ip link set client up

say 'two builds of one source are equal'
build() { # FOLDER VERSION
	DEB_VERSION=$2 sh debian/build.sh "$work/$1" >"$work/build" 2>&1 || { cat "$work/build"; fail build; }
}
build 1 0~1
cp -a . /src/elsewhere
(cd /src/elsewhere && umask 027 && find . -exec touch -d @1790000000 {} + &&
	export TZ=Asia/Tokyo GOCACHE="$work/cache" && build again 0~1) || fail 'the second build'
rm -rf /src/elsewhere "$work/cache"
cmp "$work"/1/*.deb "$work"/again/*.deb || fail 'the second build differs'
sha256sum "$work"/1/*.deb "$work"/again/*.deb
build 2 0~2
old=$(echo "$work"/1/*.deb) new=$(echo "$work"/2/*.deb)

say 'lintian finds no error'
lintian --allow-root --fail-on error "$work"/1/*.changes || fail lintian
echo "lintian ended with $?"

say 'installing leaves Postfix alone, and says what to do'
useradd --create-home user
postconf -e myhostname=mx.example.org 'mydestination=example.org, localhost' \
	home_mailbox=Maildir/ inet_protocols=ipv4 mynetworks=127.0.0.0/8
checksum >"$work/before"
output=$(apt-get -y install "$old" 2>&1) || { echo "$output"; fail 'apt install'; }
says 'postmend setup'
checksum | cmp - "$work/before" || fail 'Postfix has been changed'
[ ! -e /etc/postmend ] || fail '/etc/postmend was made'
getent passwd postmend
getent passwd postmend | grep -q ':/nonexistent:/usr/sbin/nologin$' || fail 'the account'
[ "$(postmend --version)" = 'postmend 0~1' ] || fail version
find / -xdev -path '*/systemd/system/postmend*.s*' | grep -c . | grep -qx 3 || fail 'units'
! find / -xdev -path '*.wants/postmend.*' | grep . || fail 'a unit is enabled'

say 'man pages and completions'
for page in postmend postmend-filter postmend-setup postmend-check postmend-report postmend-serve; do
	man -w 8 "$page" >/dev/null
	[ -z "$(man --warnings -Tutf8 8 "$page" 2>&1 >/dev/null)" ] || fail "man $page"
done
MANWIDTH=200 man 5 postmend.toml >"$work/man" 2>"$work/warnings"
[ ! -s "$work/warnings" ] || { cat "$work/warnings"; fail 'man postmend.toml'; }
for key in trusted_networks secrets_file munge_from target dns_patience; do
	grep -q "^ *$key" "$work/man" || fail "postmend.toml(5) lacks $key"
done
bash -n /usr/share/bash-completion/completions/postmend
zsh -n /usr/share/zsh/vendor-completions/_postmend
fish -n /usr/share/fish/vendor_completions.d/postmend.fish
fish -c 'complete -C "postmend set"' | grep -q ^setup || fail 'completion by fish'

say 'setup, and mail flows'
postfix start >/dev/null 2>&1
await 'Postfix answers' timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/25 && read -r line <&3 && [[ $line = 220* ]]'
# As a content filter, mail for users here passes the program, too.
postmend setup --apply --mode content-filter >"$work/setup" || { cat "$work/setup"; fail setup; }
names_us || fail 'master.cf does not name /usr/bin/postmend'
send 20
await 'twenty messages' has_delivered 20
grep -rq '^X-Postmend-Arrival:' /home/user/Maildir/new || fail 'mail does not pass postmend'

say 'twelve upgrades and downgrades under load lose nothing'
: >"$work/batches"
while [ ! -e "$work/enough" ]; do
	send 100 || fail 'smtp-source'
	echo >>"$work/batches"
done &
sender=$!
n=0
while [ $n -lt 12 ]; do
	install "$new"
	install "$old"
	n=$((n + 2))
	echo "after $n: $(delivered) messages delivered"
done
: >"$work/enough"
wait $sender || fail 'sending'
sent=$((20 + 100 * $(wc -l <"$work/batches")))
await 'all messages' has_delivered $sent
await 'an empty queue' queue_is_empty
echo "$sent messages sent, $(delivered) delivered"
[ "$(delivered)" = $sent ] || fail 'not the same number'
[ "$(grep -rhi ^Message-Id: /home/user/Maildir/new | sort -u | wc -l)" = $sent ] || fail 'one was delivered twice'
! grep -E 'status=bounced|dsn=5' /var/log/mail.log || fail 'a bounce'
echo "deferred: $(grep -c status=deferred /var/log/mail.log || true)"

say 'removing is refused while master.cf names the program'
refused apt-get -y remove postmend
says 'postmend setup --undo'
[ -x /usr/bin/postmend ] || fail 'the program is gone'
send 1
await 'mail flows on' has_delivered $((sent + 1))

say 'a missing program defers the mail'
mv /usr/bin/postmend /usr/bin/postmend.gone
send 1
await 'the message is deferred' grep -q 'postfix/pipe.*status=deferred' /var/log/mail.log
! grep status=bounced /var/log/mail.log || fail 'a bounce'
apt-get -y install --reinstall "$old" >/dev/null 2>&1
rm /usr/bin/postmend.gone
postqueue -f
await 'the deferred message' has_delivered $((sent + 2))

say 'undo, remove: keys stay, and Postfix is as it was'
postmend setup --undo >/dev/null
postsuper -r ALL incoming active deferred >/dev/null 2>&1
apt-get -y remove postmend >"$work/apt" 2>&1 || { cat "$work/apt"; fail remove; }
[ ! -e /usr/bin/postmend ] || fail 'the program is still there'
(cd /etc/postmend && sha256sum srs.secrets dkim/*) >"$work/keys"
send 1
await 'mail flows without postmend' has_delivered $((sent + 3))

say 'reinstalling takes the keys that are there'
install "$new"
postmend setup --apply --mode content-filter >"$work/setup" || { cat "$work/setup"; fail setup; }
(cd /etc/postmend && sha256sum -c --quiet "$work/keys") || fail 'the keys changed'
send 1
await 'mail flows' has_delivered $((sent + 4))

say 'purging keeps the keys, unless the answer is yes'
postmend setup --undo >/dev/null
apt-get -y purge postmend >"$work/apt" 2>&1 || { cat "$work/apt"; fail purge; }
grep 'postmend:' "$work/apt"
(cd /etc/postmend && sha256sum -c --quiet "$work/keys") || fail 'the keys are gone'
install "$new"
echo 'postmend postmend/purge-keys boolean true' | debconf-set-selections
apt-get -y purge postmend >"$work/apt" 2>&1 || { cat "$work/apt"; fail purge; }
[ ! -e /etc/postmend ] || fail '/etc/postmend is still there'
! debconf-show postmend | grep . || fail 'debconf keeps the answer'
! dpkg -S postmend 2>/dev/null || fail 'files are left'
checksum | grep -v -e postmend-setup -e before-postmend | cut -d' ' -f3 | sort >"$work/after"
send 1
await 'mail flows without postmend' has_delivered $((sent + 5))
! grep status=bounced /var/log/mail.log || fail 'a bounce'

. /etc/os-release
say "$PRETTY_NAME, Postfix $(postconf -h mail_version): all of it passed"
