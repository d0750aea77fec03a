package srs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// longHash rules chance out: a hash of four characters fits another address once in a million.
func longHash(o *Options) { o.HashLength = maxHash }

// hashOf gives the hash of an SRS address.
func hashOf(t *testing.T, address string) string {
	t.Helper()
	hash, _, ok := strings.Cut(address[len("SRS0="):], "=")
	if !ok {
		t.Fatalf("%q has no hash", address)
	}
	return hash
}

// The attacker sends as an SRS0 address that he made up, to somebody whose mail comes to him through us, and
// reads the hash of our SRS1 there.
func TestTheHashOfAnSRS1DoesNotOpenAnSRS0OnAnyDay(t *testing.T) {
	for _, v := range [][2]string{ // the sender he uses, the SRS0 address that he is after
		{"SRS0-bank.examplevictim@WBmy", "WB=my-bank.example=victim"},
		{"SRS0=victim@WBbank.example", "WB=bank.example==victim"},
		{"SRS0=x=y=z@2Wbank.example", "2W=bank.example==x=y=z"},
		{"SRS1=x=WBmy=-bank.examplevictim@evil.example", "WB=my-bank.example=victim"},
	} {
		address, err := rewriter(t, longHash).Forward(v[0])
		if err != nil {
			t.Fatal(err)
		}
		wanted := "SRS0=" + hashOf(t, address) + "=" + v[1] + "@example.com"
		for days := range stampModulus {
			r := rewriter(t, func(o *Options) { longHash(o); at(days)(o) })
			if got, err := r.Reverse(wanted); err == nil {
				t.Errorf("after %d days the hash of %q makes %q lead to %q", days, address, wanted, got)
				break
			}
		}
	}
}

// Every way to cut the fields of one address into those of another, both tags: the hash of an SRS1 address of
// ours is good for this address alone, and that of an SRS0 address keeps its stamp.
func TestAHashIsGoodForNoOtherFields(t *testing.T) {
	r := rewriter(t, func(o *Options) { longHash(o); o.Domain = "f.x" })
	random := senders{rand.New(rand.NewPCG(12, 4))}
	for range 300 {
		local := random.word("-=+", 1) + random.word("2wW-=+aS.", 9)
		host := random.word("2wWa", 2) + random.word("-.2wa", 3) + random.word("wa", 1)
		for _, sender := range []string{"SRS0" + local + "@" + host,
			"SRS1=h=" + host + "=" + local + "@f2.x"} {
			address, err := r.Forward(sender)
			if err != nil {
				continue // the host is none, or it is too long
			}
			_, first, rest, ok := parseSRS1(strings.TrimSuffix(strings.Trim(address, `"`), "@f.x"))
			if !ok {
				continue // an SRS0: no forwarder is in the sender
			}
			hash, joined := hashOf(t, address), first+rest
			for end := 1; end < len(joined); end++ {
				for _, other := range []string{
					"SRS1=" + hash + "=" + joined[:end] + "=" + joined[end:],
					fmt.Sprintf("SRS0=%s=%.2s=%s=%s", hash, joined, joined[min(2, end):end], joined[end:]),
				} {
					back, err := r.Reverse(quote(other) + "@f.x")
					if err == nil && !sameFields(other, first, rest) {
						t.Errorf("the hash of %q makes %q lead to %q", address, other, back)
					}
				}
			}
		}
	}
}

func sameFields(local, first, rest string) bool {
	_, otherFirst, otherRest, ok := parseSRS1(local)
	return ok && otherFirst == first && otherRest == rest
}

// What the package comment admits: PostSRSd's hash of SRS0 does not tell where the host ends. The stamp
// stays.
func TestTheHashOfAnSRS0IsBoundToItsStampAndToTheLettersOfItsSender(t *testing.T) {
	r := rewriter(t, longHash)
	address, err := r.Forward("mallory@bank.co")
	if err != nil {
		t.Fatal(err)
	}
	hash := hashOf(t, address)
	if back, err := r.Reverse("SRS0=" + hash + "=2W=bank.com=allory@example.com"); back != "allory@bank.com" {
		t.Errorf("PostSRSd takes it, too, so the vectors would not: %q, %v", back, err)
	}
	for _, other := range []string{
		"SRS0=HHHH=2V=bank.co=mallory", "SRS0=HHHH=2=Wbank.co=mallory", "SRS0=HHHH=2Wb=ank.co=mallory",
		"SRS0=HHHH=2W=bank.co=mallor", "SRS0=HHHH=2W=bank.co==mallory",
		"SRS1=HHHH=2Wbank.co==mallory", "SRS1=HHHH=bank.co==mallory", "SRS1=HHHH=2W=bank.co=mallory",
	} {
		other = strings.Replace(other, "HHHH", hash, 1)
		if back, err := r.Reverse(other + "@example.com"); err == nil {
			t.Errorf("%q leads to %q", other, back)
		}
	}
}

func TestAnSRS1IsGoodFromTomorrowToItsAge(t *testing.T) {
	const sender = "SRS0=opaque+string@otherdomain.com"
	for _, maxDays := range []int{1, 21, 512} {
		on := func(days int) *Rewriter {
			return rewriter(t, func(o *Options) {
				longHash(o)
				at(days)(o)
				o.MaxAge = time.Duration(maxDays) * 24 * time.Hour
			})
		}
		address, err := on(0).Forward(sender)
		if err != nil {
			t.Fatal(err)
		}
		for days, want := range map[int]error{
			-2: ErrForged, -1: nil, 0: nil, maxDays: nil, maxDays + 1: ErrForged,
			stampModulus: ErrForged, 10 * stampModulus: ErrForged, // it does not come back, as a stamp does
		} {
			if got, err := on(days).Reverse(address); !errors.Is(err, want) || want == nil && got != sender {
				t.Errorf("max_age %d, after %d days: %q, %v; want %v", maxDays, days, got, err, want)
			}
		}
	}
}

// PostSRSd's vector has no day in its hash: it does not expire, as with PostSRSd.
func TestAnSRS1OfPostSRSdDoesNotExpire(t *testing.T) {
	for _, days := range []int{0, 21, 22, 500, 5000} {
		got, err := rewriter(t, at(days)).Reverse("SRS1=chaI=otherdomain.com==opaque+string@example.com")
		if got != "SRS0=opaque+string@otherdomain.com" || err != nil {
			t.Errorf("after %d days: %q, %v", days, got, err)
		}
	}
}

func BenchmarkReverseSRS1(b *testing.B) {
	r := rewriter(b, nil)
	address, err := r.Forward("SRS0=opaque+string@otherdomain.com")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := r.Reverse(address); err != nil {
			b.Fatal(err)
		}
	}
}
