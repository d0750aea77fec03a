#!/bin/sh
# Installs, in a fresh Debian, what builds the package, what it depends on, and what life.sh needs.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install -y --no-install-recommends debconf debconf-utils
debconf-set-selections <<'END'
postfix postfix/main_mailer_type select Internet Site
postfix postfix/mailname string debian.example.org
END
apt-get -q install -y --no-install-recommends build-essential debhelper lintian postfix \
	systemd-standalone-sysusers procps man-db rsyslog zsh fish
