#!/bin/sh
# Installs, on Debian, the programs that the tests take as judges: mail servers and verifiers that nobody here wrote.
# Further packages may be named as arguments.
set -eu

packages='postfix postsrsd opendkim opendkim-tools python3 python3-dkim python3-nacl python3-spf python3-authres
libmail-dkim-perl libnet-dns-perl swaks openssl procps acl gcc libc6-dev
python3-prometheus-client python3-html5lib systemd-journal-remote xz-utils zstd bzip2
python3-authheaders dovecot-core dovecot-lmtpd dovecot-sieve procmail libmailtools-perl libemail-address-xs-perl rspamd redis-server'
packages="$packages $*"

missing=
for package in $packages; do
	dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
# Check judges accounts: the tests need one that no other program uses, and one for other programs.
accounts=
for account in postmend-test postmend-box; do
	id "$account" >/dev/null 2>&1 || accounts="$accounts $account"
done
# Node may come from elsewhere than Debian.
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
install_readers() {
	cd "$(dirname "$0")/fromreaders"
	[ -d node_modules/mailauth ] || npm ci --ignore-scripts --no-audit --no-fund
}
if [ -z "$missing$accounts" ]; then
	install_readers
	exit 0
fi

if [ "$(id -u)" != 0 ]; then
	echo "The tests need, as root: apt-get install --no-install-recommends$missing; accounts:$accounts" >&2
	exit 1
fi
for account in $accounts; do
	useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin "$account"
done
if [ -z "$missing" ]; then
	install_readers
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
# Dovecot would start by itself; a policy that is there already is the machine's own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
# The tests bring their own configuration of Postfix; none of these daemons is to start by itself.
command -v debconf-set-selections >/dev/null || apt-get install -y --no-install-recommends debconf
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
# shellcheck disable=SC2086 # a list of words
apt-get install -y --no-install-recommends $missing
install_readers
