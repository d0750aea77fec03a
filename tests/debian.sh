#!/bin/sh
# Runs a command, `make test` unless told otherwise, on a copy of this checkout in a fresh Debian.
#
#   sh tests/debian.sh RELEASE [COMMAND [ARGUMENT]...]
#   sh tests/debian.sh --archive RELEASE      prints the path of the release's root folder as a tar archive
#
# PEERS is the script that installs what the command needs, tests/peers.sh by default.
#
# As root. The release comes by debootstrap from the mirror that this machine's apt uses. What is kept between runs (the
# archive, packages, what Go has built) lies in DEBIAN_CACHE, /var/cache/postmend-debian by default. Each run
# unpacks the archive again and removes it at its end. The run has mounts, processes, a host name and a network of its own;
# only the installation of the tests' packages sees the network of this machine.
set -eu

fail() {
	echo "$0: $*" >&2
	exit 1
}

# The first run of the script keeps the cache and the copy, the second one, in namespaces of its own, does the rest.
outside() {
	[ "$(id -u)" = 0 ] || fail 'debootstrap, chroot and mount want root'
	command=run
	[ "${1:-}" != --archive ] || { command=archive; shift; }
	[ $# -gt 0 ] || fail 'usage: [--archive] RELEASE [COMMAND [ARGUMENT]...]'
	release=$1
	shift
	cache=${DEBIAN_CACHE:-/var/cache/postmend-debian}
	archive=$cache/$release.tar
	mkdir -p "$cache"
	temporary=$(mktemp -d "$cache/run.XXXXXX")
	trap 'rm -rf "$temporary"' EXIT # it holds no mounts: those are the namespace's
	trap 'exit 1' HUP INT TERM
	[ -f "$archive" ] || bootstrap >&2
	[ "$command" = run ] || { echo "$archive"; return; }

	[ $# -gt 0 ] || set -- make test
	mkdir -p "$temporary/root" "$cache/$release.packages" "$cache/$release.build"
	tar -C "$temporary/root" -xf "$archive"
	copy_checkout "$temporary/root/src/postmend"
	go=${GO:-go}
	"$go" mod download
	status=0
	ROOT=$temporary/root GOROOT=$("$go" env GOROOT) MODULES=$("$go" env GOMODCACHE) \
		PACKAGES=$cache/$release.packages BUILD=$cache/$release.build \
		unshare --mount --propagation private --pid --fork --kill-child --ipc --uts sh "$0" --inside "$@" || status=$?
	echo "$0: $release: \"$*\" ended with $status"
	return $status
}

# bootstrap makes the archive. It appears whole or not at all.
bootstrap() {
	need_debootstrap
	mirror=$(mirror_of Debian)
	[ -n "$mirror" ] || fail "apt-get indextargets names no mirror of Debian's (apt-get update?)"
	debootstrap --variant=minbase --include=ca-certificates,iproute2,make "$release" "$temporary/new" "$mirror"
	{
		echo "deb $mirror $release main"
		echo "deb $mirror $release-updates main"
		security=$(mirror_of Debian-Security)
		[ -z "$security" ] || echo "deb $security $release-security main"
	} >"$temporary/new/etc/apt/sources.list"
	rm -f "$temporary/new/etc/resolv.conf" "$temporary/new/etc/hostname"
	rm -rf "$temporary/new/var/cache/apt/archives/"*.deb "$temporary/new/var/lib/apt/lists/"*
	tar -C "$temporary/new" -cf "$temporary/new.tar" --one-file-system .
	mv "$temporary/new.tar" "$archive"
	rm -rf "$temporary/new"
}

need_debootstrap() {
	command -v debootstrap >/dev/null ||
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap
}

# mirror_of prints where apt gets the packages of an archive with the given label.
mirror_of() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" | head -n 1
}

# copy_checkout copies what git would show, changes that are not committed included.
copy_checkout() {
	mkdir -p "$1"
	git ls-files -z --cached --others --exclude-standard |
		tar --null --ignore-failed-read --files-from=- -cf - | tar -C "$1" -xf -
}

inside() {
	hostname debian # without a domain, as installers leave it
	printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost\n' >"$ROOT/etc/hosts"
	echo debian >"$ROOT/etc/hostname"
	printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d" # no daemon starts by itself
	chmod 755 "$ROOT/usr/sbin/policy-rc.d"
	mount --bind "$ROOT" "$ROOT" # unshare(1) wants / to be a mount point
	devices
	mount -t proc proc "$ROOT/proc"
	lend "$GOROOT" /usr/local/go ro
	lend "$MODULES" /var/cache/go/modules ro
	lend "$BUILD" /var/cache/go/build rw
	lend "$PACKAGES" /var/cache/apt/archives rw

	cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
	trusted=/etc/ssl/certs/ca-certificates.crt # a proxy of this machine's may have a certificate that only it knows
	cp "$trusted" "$ROOT/run/trusted.crt"
	clean_chroot NODE_EXTRA_CA_CERTS=/run/trusted.crt ${http_proxy+"http_proxy=$http_proxy"} \
		${https_proxy+"https_proxy=$https_proxy"} sh "${PEERS:-tests/peers.sh}"
	rm "$ROOT/etc/resolv.conf" "$ROOT/run/trusted.crt"
	clean_chroot sh -c '. /etc/os-release && echo "$PRETTY_NAME, Postfix $(/usr/sbin/postconf -d -h mail_version)"'
	ROOT=$ROOT unshare --net sh "$0" --offline "$@"
}

# devices makes /dev of this machine's harmless ones: its log, terminals and disks are not for the tests.
devices() {
	mount -t tmpfs -o mode=755 dev "$ROOT/dev"
	for device in null zero full random urandom tty; do
		: >"$ROOT/dev/$device"
		mount --bind "/dev/$device" "$ROOT/dev/$device"
	done
	mkdir "$ROOT/dev/pts" "$ROOT/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$ROOT/dev/pts"
	mount -t tmpfs -o mode=1777 shm "$ROOT/dev/shm"
	ln -s pts/ptmx "$ROOT/dev/ptmx"
	ln -s /proc/self/fd "$ROOT/dev/fd"
	for number in 0:stdin 1:stdout 2:stderr; do
		ln -s "/proc/self/fd/${number%:*}" "$ROOT/dev/${number#*:}"
	done
}

# lend FOLDER PATH MODE makes a folder of this machine appear in the root.
lend() {
	mkdir -p "$ROOT$2"
	mount --bind "$1" "$ROOT$2"
	mount -o "remount,bind,$3" "$ROOT$2"
}

# clean_chroot runs a command in the copy of the checkout, with nothing of this machine's environment.
clean_chroot() {
	env -i PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI=true \
		GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-buildvcs=false GOMODCACHE=/var/cache/go/modules GOCACHE=/var/cache/go/build \
		chroot "$ROOT" env --chdir=/src/postmend "$@"
}

case ${1:-} in
--inside)
	shift
	inside "$@"
	;;
--offline)
	shift
	clean_chroot ip link set lo up
	clean_chroot "$@"
	;;
*)
	outside "$@"
	;;
esac
