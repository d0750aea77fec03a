#!/bin/sh
# The units of the Debian package under a real systemd: `make test-systemd`, as root, boots a fresh Debian by systemd-nspawn,
# with no network but loopback. The arguments are the package and the release.
set -eu

package=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
command -v systemd-nspawn >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends systemd-container
archive=$(sh "$here/../debian.sh" --archive "$2")
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM
tar -C "$root" -xf "$archive"

cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/run/trusted.crt" # a proxy of this machine's may have a certificate that only it knows
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive NODE_EXTRA_CA_CERTS=/run/trusted.crt \
	${http_proxy+"http_proxy=$http_proxy"} ${https_proxy+"https_proxy=$https_proxy"} \
	unshare --mount --propagation private sh -c 'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc" && chroot "$0" sh -c "
		apt-get -q update && echo postfix postfix/main_mailer_type select Internet Site | debconf-set-selections &&
		apt-get -q -y install --no-install-recommends systemd-sysv dbus postfix rsyslog"' "$root" >"$root/apt.log" 2>&1 ||
	{ tail -n 20 "$root/apt.log"; exit 1; }
rm "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf" "$root/run/trusted.crt"

cp "$package" "$root/root/postmend.deb"
cp "$here/units.sh" "$root/root/units.sh"
cat >"$root/etc/systemd/system/units.service" <<'END'
[Unit]
After=multi-user.target
SuccessAction=exit
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/sh /root/units.sh
StandardOutput=file:/root/said
StandardError=inherit
TimeoutStartSec=600
END
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../units.service "$root/etc/systemd/system/graphical.target.wants/units.service"
status=0
timeout 700 systemd-nspawn --quiet --boot --private-network --register=no --keep-unit --directory="$root" \
	--hostname=mx --console=pipe </dev/null >"$root/console.log" 2>&1 || status=$?
cat "$root/root/said" 2>/dev/null || tail -n 30 "$root/console.log"
grep -q '^all is well$' "$root/root/said" || { echo "systemd.sh: failed (status $status)" >&2; exit 1; }
