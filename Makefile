# postmend needs Go and nothing else; its tests need the programs that `make peers` installs.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)

export CGO_ENABLED = 0

# The date of what is made of the source.
DATED     = SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)}
PACKAGING = $(DATED) $(GO) run -tags packaging -ldflags "-X main.version=$(VERSION)" ./cmd/postmend

.PHONY: all build man sbom copyright deb install install-program uninstall test test-bookworm test-trixie test-deb test-deb-bookworm test-deb-trixie test-systemd test-systemd-bookworm test-systemd-trixie peers check race fuzz hostile differential ways soak bench clean

all: build man

build:
	$(GO) build -trimpath -ldflags "$(LDFLAGS) -X main.version=$(VERSION)" -o bin/postmend ./cmd/postmend

# From the commands' help and from docs/.
man:
	@rm -rf bin/man
	$(PACKAGING) man bin/man

# What the program is made of, with licences: SPDX 2.3 in JSON.
sbom: build
	$(PACKAGING) sbom bin/postmend >bin/postmend.spdx.json

# Our licence and those of what is in the program.
copyright: build
	$(PACKAGING) copyright bin/postmend >bin/copyright

# A package for Debian 12 or 13, in bin/. Needs debhelper.
deb:
	@rm -f bin/postmend_*
	GO=$(GO) sh debian/build.sh bin

# What `make` has built, for a host without packages.
PREFIX  ?= /usr/local
UNITS    = $(DESTDIR)$(PREFIX)/lib/systemd/system
COMPLETE = $(DESTDIR)$(PREFIX)/share
install: install-program
	install -d "$(UNITS)" "$(COMPLETE)/bash-completion/completions" "$(COMPLETE)/zsh/site-functions" \
		"$(COMPLETE)/fish/vendor_completions.d"
	sed 's|/usr/bin/|$(PREFIX)/bin/|' debian/postmend.service >"$(UNITS)/postmend.service"
	install -m 0644 debian/postmend.socket "$(UNITS)/postmend.socket"
	install -m 0644 debian/postmend.postmend-lmtp.socket "$(UNITS)/postmend-lmtp.socket"
	bin/postmend completion bash >"$(COMPLETE)/bash-completion/completions/postmend"
	bin/postmend completion zsh >"$(COMPLETE)/zsh/site-functions/_postmend"
	bin/postmend completion fish >"$(COMPLETE)/fish/vendor_completions.d/postmend.fish"

# The program by rename: Postfix must never start one that is half written.
install-program:
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/man/man5" "$(DESTDIR)$(PREFIX)/share/man/man8"
	install -m 0755 bin/postmend "$(DESTDIR)$(PREFIX)/bin/.postmend.new"
	mv -f "$(DESTDIR)$(PREFIX)/bin/.postmend.new" "$(DESTDIR)$(PREFIX)/bin/postmend"
	install -m 0644 bin/man/*.5 "$(DESTDIR)$(PREFIX)/share/man/man5/"
	install -m 0644 bin/man/*.8 "$(DESTDIR)$(PREFIX)/share/man/man8/"

# What install has put there; configuration, keys and account stay (docs/postfix.md, "Leaving"). Not while Postfix names the program.
uninstall:
	@! grep -qs "^[^#]*$(PREFIX)/bin/postmend" /etc/postfix/master.cf || { echo 'First: postmend setup --undo'; exit 1; }
	rm -f "$(DESTDIR)$(PREFIX)/bin/postmend" "$(DESTDIR)$(PREFIX)/share/man/man5/postmend.toml.5" \
		"$(DESTDIR)$(PREFIX)/share/man/man8/postmend.8" "$(DESTDIR)$(PREFIX)/share/man/man8/"postmend-*.8 \
		"$(UNITS)/postmend.service" "$(UNITS)/postmend.socket" "$(UNITS)/postmend-lmtp.socket" \
		"$(COMPLETE)/bash-completion/completions/postmend" "$(COMPLETE)/zsh/site-functions/_postmend" \
		"$(COMPLETE)/fish/vendor_completions.d/postmend.fish"

# Everything, on a fresh machine: installs what the tests need, then runs them, real Postfix included. The tests with Postfix wait more
# than they compute, so more of them run at once than there are processors; and they begin first, since they take longest.
test: peers check
	$(GO) test -timeout 30m -parallel 6 ./tests ./...

# The same in a fresh Debian 12 or 13, as root, on whatever Debian this is: tests/debian.sh makes them and says where they are kept.
test-bookworm test-trixie:
	GO=$(GO) sh tests/debian.sh $(@:test-%=%)

# The package's life in a fresh Debian 12 and 13: two equal builds, lintian, installation, upgrades while mail flows, removal, purge.
test-deb: test-deb-bookworm test-deb-trixie
test-deb-bookworm test-deb-trixie:
	GO=$(GO) PEERS=tests/package/peers.sh sh tests/debian.sh $(@:test-deb-%=%) sh tests/package/life.sh

# Its units under the systemd of Debian 12 and 13, which systemd-nspawn boots: start, reload, restart, upgrade, crashes while mail flows.
# Needs debhelper.
test-systemd: test-systemd-bookworm test-systemd-trixie
test-systemd-bookworm test-systemd-trixie: deb
	sh tests/package/systemd.sh bin/postmend_*.deb $(@:test-systemd-%=%)

# What other people wrote and our tests take as judges.
peers:
	sh tests/peers.sh

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags packaging ./cmd/postmend
	$(GO) tool staticcheck ./...
	$(GO) run ./tests/sizes

# The race detector needs cgo.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m $$($(GO) list ./... | grep -v /tests)

# Each fuzz target for FUZZTIME: a time, or a number of inputs such as 10000x.
FUZZTIME ?= 10m
fuzz:
	sh tests/fuzz.sh $(FUZZTIME)

# What costs most at the largest sizes; the tests have a short form of it.
hostile:
	HOSTILE=full $(GO) test -count=1 -timeout 1h -run TestNoMessageCostsMoreThanItsSize ./tests

# From: fields and DKIM signatures as we read them and as other people's programs do; the tests have a short form of it. SEED=n makes others.
FIELDS     ?= 20000
SIGNATURES ?= 10000
differential: peers
	SIGNATURES=$(SIGNATURES) $(GO) test -count=1 -timeout 1h -v -run TestOthersSayTheSameOfRandomSignatures ./dkim
	FIELDS=$(FIELDS) $(GO) test -count=1 -timeout 1h -v -run TestEveryDomainThatAReaderTakesForTheAuthorsIsOneOfOurs ./tests

# What `make test` runs with pipe(8) as a content filter, in each other way into the filter. Behind the milter, tests whose forgeries it refuses,
# and which expect that of the filter, have a form of their own in `make test`.
WAY_TESTS  = ARCChain|ProgramsHereSendOn|BouncesComeHome|ListenerDrops|ClientWhose|EveryMessage|DMARCPasses|DNSThatNever|SlowDNS|NobodysVerifier|OddSenders|Flood|Refused|Largest|AStore|NoFaultLoses
DOOR_TESTS = ARCChain|ListenerDrops|ClientWhose|TestEveryMessage|DNSThatNever|OddSenders|Refused|Largest|AStore|NoFaultLoses
ways:
	for way in transport LMTP 'LMTP transport'; do WAYS="$$way" $(GO) test -count=1 -timeout 30m -parallel 6 -run '$(WAY_TESTS)' ./tests || exit 1; done
	for way in milter 'milter transport' 'milter LMTP' 'milter LMTP transport'; do \
		WAYS="$$way" $(GO) test -count=1 -timeout 30m -parallel 6 -run '$(DOOR_TESTS)' ./tests || exit 1; done

# Thousands of messages through every fault at random; the tests have a short form of it.
soak:
	SOAK=2000 $(GO) test -count=1 -timeout 1h -v -run 'TestASoakOf(Faults|LongSenders)' ./tests
	RESTARTS=2000 $(GO) test -count=1 -timeout 1h -v -run TestRestartsAndReloadsLoseNothing ./tests

# As root: what a message costs beside other ways of mending it. Some minutes on a quiet machine.
bench: build
	sh tests/peers.sh opendmarc
	sh tests/bench/run.sh bin/postmend

clean:
	rm -rf bin
