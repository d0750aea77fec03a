#!/bin/sh
# Builds the Debian package of this checkout, changes that are not committed included: `make deb`.
#
#   sh debian/build.sh DIRECTORY      leaves postmend_VERSION_ARCHITECTURE.deb, .changes and .buildinfo there
#
# Needs debhelper, and Go as go.mod says. Two builds of one commit give the same file. DEB_VERSION and
# SOURCE_DATE_EPOCH set version and date; by default they are those of the commit.
set -eu

into=$(realpath "$1")
cd "$(dirname "$0")/.."
go=${GO:-go}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
if [ -z "${DEB_VERSION:-}" ]; then
	# Of two commits, the later one has the greater version. A tag v1.2 is version 1.2.
	tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
	if [ -n "$tag" ] && [ "$(git rev-parse "$tag^{commit}")" = "$(git rev-parse HEAD)" ]; then
		DEB_VERSION=${tag#v}
	else
		tag=${tag:+${tag#v}+}
		DEB_VERSION=${tag:-0~}git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M%S)
		DEB_VERSION=$DEB_VERSION.$(git rev-parse --short=8 HEAD)
	fi
	[ -z "$(git status --porcelain)" ] || DEB_VERSION=$DEB_VERSION+changed
fi

mkdir "$build/postmend"
if [ -e .git ]; then
	git ls-files -z --cached --others --exclude-standard
else
	find . -type f -not -path './bin/*' -print0
fi | tar --null --ignore-failed-read --files-from=- --mtime="@$SOURCE_DATE_EPOCH" -cf - |
	tar -C "$build/postmend" --no-same-owner -xf -

for setting in GOENV GOPATH GOMODCACHE GOCACHE; do
	export "$setting=$("$go" env "$setting")"
done
export SOURCE_DATE_EPOCH GO="$go" GOFLAGS=-buildvcs=false GOAMD64=v1
unset MAKEFLAGS MAKELEVEL VERSION DESTDIR PREFIX
cd "$build/postmend"
cat >debian/changelog <<END
postmend ($DEB_VERSION) unstable; urgency=medium

  * See CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' debian/control)  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
dpkg-buildpackage --build=binary --no-sign
mkdir -p "$into"
mv "$build"/postmend_* "$into"
