package srs

import (
	"errors"
	"strings"
	"testing"
	"unicode"
)

// FuzzReverse asks for the address as it is, and again with the right hash: no fuzzer guesses one.
func FuzzReverse(f *testing.F) {
	for _, seed := range []string{
		"SRS0=vmyz=2W=otherdomain.com=test@example.com",
		"SRS1=chaI=otherdomain.com==opaque+string@example.com",
		`"SRS0=vmyz=2W=otherdomain.com=a b"@example.com`, `"SRS0-vmyz=2W=[192.0.2.1]=a\"b"@example.com`,
		"srs1==@example.com", "SRS1+=1=+@example.com",
		"SRS1=vmyz=example.com==vmyz=2W=example.com=SRS0=x@example.com",
		"SRS0=vmyz=ı=otherdomain.com=test@example.com",
	} {
		f.Add(seed)
	}
	r := rewriter(f, nil)
	f.Fuzz(func(t *testing.T, address string) {
		for _, address := range []string{address, withRightHash(r, address)} {
			back, err := r.Reverse(address)
			if err != nil {
				if back != "" || !isOneOf(err, ErrMalformed, ErrNotSRS, ErrForged, ErrExpired, ErrUnknown) {
					t.Errorf("Reverse(%q) = %q, %v", address, back, err)
				}
				continue
			}
			if !r.Owns(address) || r.Owns(back) || strings.ContainsFunc(back, unicode.IsControl) {
				t.Errorf("Reverse(%q) = %q", address, back)
			}
			if _, err := r.Forward(back); err != nil && !errors.Is(err, ErrTooLong) {
				t.Errorf("Reverse(%q) = %q, which cannot be rewritten: %v", address, back, err)
			}
		}
	})
}

func withRightHash(r *Rewriter, address string) string {
	local, host, err := split(address)
	if err != nil {
		return address
	}
	if _, stamp, originalHost, user, ok := parseSRS0(local); ok {
		text := hashedSRS0(stamp, originalHost, user)
		if originalHost == aliasHost {
			text = hashedAlias(Key{day(r.now()), asciiLower(user)})
		}
		hash := r.sign(text)
		local = "SRS0=" + hash + "=" + stamp + "=" + originalHost + "=" + user
	} else if _, first, rest, ok := parseSRS1(local); ok {
		local = r.guarded(first, rest)
	}
	return quote(local) + "@" + host
}

func FuzzForward(f *testing.F) {
	for _, seed := range []string{
		"test@otherdomain.com", `"a\"@b"@x.y`, "a..b@c", "a b@c", "SRS0=a=b@c", "SRS1=a=b==c@d", "srs1-a@b",
		"SRS1=a=example.com==b@c", "ü@[192.0.2.1]", "SRS0=x@example.com", "\xff@x", "a@ſ",
	} {
		f.Add(seed, byte('='))
		f.Add(seed, byte('-'))
	}
	f.Fuzz(func(t *testing.T, address string, separator byte) {
		r := rewriter(t, func(o *Options) { o.Separator = "=+-"[separator%3] })
		there, err := r.Forward(address)
		if err != nil {
			if there != "" || !isOneOf(err, ErrMalformed, ErrTooLong) {
				t.Errorf("Forward(%q) = %q, %v", address, there, err)
			}
			return
		}
		if address == "" || r.Owns(address) {
			if there != address {
				t.Errorf("Forward(%q) = %q", address, there)
			}
			return
		}
		if strings.LastIndexByte(there, '@') > 64 || !r.Owns(there) || canonical(t, there) != there {
			t.Fatalf("Forward(%q) = %q", address, there)
		}
		want := canonical(t, address)
		local, host, _ := split(address)
		if hasTag(local, "SRS0") {
			want = quote("SRS0"+local[4:]) + "@" + host // the tag's case is not kept
		} else if _, first, rest, ok := parseSRS1(local); ok {
			want = quote("SRS0"+rest) + "@" + first // the last forwarder is left out
		}
		if r.Owns(want) {
			return // a loop: what it holds was not hashed by us
		}
		if back, err := r.Reverse(there); back != want || err != nil {
			t.Errorf("%q → %q → %q, %v; want %q", address, there, back, err, want)
		}
	})
}

func isOneOf(err error, sentinels ...error) bool {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
