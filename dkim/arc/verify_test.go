package arc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postmend/dkim"
)

// asked is a zone that notes what it is asked, and does not answer for some names.
type asked struct {
	zone
	silent string
	mu     sync.Mutex
	names  []string
}

func (a *asked) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a.mu.Lock()
	a.names = append(a.names, name)
	a.mu.Unlock()
	if a.silent != "" && strings.HasPrefix(name, a.silent) {
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	return a.zone.LookupTXT(ctx, name)
}

// chainOf seals the letter with keys, one after the other; the body changes before the sets named in changes.
func chainOf(t testing.TB, changes string, keys ...*dkim.Key) string {
	t.Helper()
	message, status := letter, "none"
	for n, key := range keys {
		if strings.Contains(changes, fmt.Sprint(n+1)) {
			message += "footer\r\n"
		}
		message, status = seal(t, message, status, key), "pass"
	}
	return message
}

// RFC 8617 section 5.2, and section 4.4 for what the words mean.
func TestTheStateOfAChain(t *testing.T) {
	a, _ := newKey(t, "example.org", "a")
	b, _ := newKey(t, "example.org", "b")
	gone, _ := newKey(t, "example.org", "gone")
	records := publish(t, a, b)
	three := chainOf(t, "", a, a, b)
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(three) }
	for _, c := range []struct {
		why, message, silent string
		status               dkim.Status
		reason, oldest       string // oldest: "" is nil
		lookups              int
	}{
		{"no chain", letter, "", dkim.None, "", "", 0},
		{"every message signature holds", three, "", dkim.Pass, "", "0", 2},
		{"the first does not", chainOf(t, "2", a, a, b), "", dkim.Pass, "", "2", 2},
		{"only the newest does", chainOf(t, "23", a, a, b), "", dkim.Pass, "", "3", 2},
		{"the body changed: no key is asked for", replaced("Good  morning", "Good evening"), "", dkim.Fail,
			"message signature 3: body hash did not verify", "", 0},
		{"a hole: no key is asked for", replaced("ARC-Seal: i=2;", "X-Seal: i=2;"), "", dkim.Fail,
			"set 2 is not whole", "", 0},
		{"a seal twice", "ARC-Seal: i=2; cv=pass\r\n" + three, "", dkim.Fail, "two ARC-Seal with i=2", "", 0},
		{"the first seal says pass", replaced("cv=none", "cv=pass"), "", dkim.Fail,
			"seal 1: cv= is not none", "", 0},
		{"the newest seal says fail", replaced("i=3; a=rsa-sha256; cv=pass", "i=3; a=rsa-sha256; cv=fail"),
			"", dkim.Fail, "the newest seal says cv=fail", "", 0},
		{"a CR within a line", replaced("arc=none", "arc\r=none"), "", dkim.Fail,
			"ARC-Authentication-Results with a CR within a line", "", 0},
		{"what the first hop found was changed", replaced("arc=none", "arc=fail"), "", dkim.Fail,
			"seal 3: signature did not verify", "", 2},
		{"the newest message signature covers ARC-Seal", replaced("h=from:from", "h=arc-seal:from:from"), "",
			dkim.Fail, "message signature 3: it covers ARC-Seal", "", 0},
		{"a key that does not exist", chainOf(t, "", a, gone), "", dkim.Fail,
			"message signature 2: no key record", "", 2},
		{"a key that cannot be had now", three, "a.", dkim.TempError, "seal 1: key look-up failed", "", 2},
		{"what fails for good beside it", strings.Replace(three, "arc=none", "arc=fail", 1), "a.", dkim.Fail,
			"seal 3: signature did not verify", "", 2},
	} {
		dns := &asked{zone: records, silent: c.silent}
		_, got := verify(t, c.message, dns)
		oldest := ""
		if got.OldestPass != nil {
			oldest = fmt.Sprint(*got.OldestPass)
		}
		if got.Status != c.status || got.Reason != c.reason || oldest != c.oldest ||
			len(dns.names) != c.lookups {
			t.Errorf("%s: %s (%s), oldest-pass %q, asked for %q", c.why, got.Status, got.Reason,
				oldest, dns.names)
		}
	}
}

// RFC 8617 section 4.2.1: 50 sets, and not one more.
func TestAChainEndsAt50Sets(t *testing.T) {
	key, _ := newKey(t, "example.org", "s")
	records := publish(t, key)
	keys := make([]*dkim.Key, 50)
	for n := range keys {
		keys[n] = key
	}
	chain, result := verify(t, chainOf(t, "", keys[:49]...), records)
	if result.Status != dkim.Pass || chain.Obstacle() != "" {
		t.Errorf("49 sets: %s (%s), obstacle %q", result.Status, result.Reason, chain.Obstacle())
	}
	full := chainOf(t, "", keys...)
	chain, result = verify(t, full, records)
	if result.Status != dkim.Pass || chain.Obstacle() == "" || len(result.Sealers) != 50 {
		t.Errorf("50 sets: %s (%s), obstacle %q", result.Status, result.Reason, chain.Obstacle())
	}
	header, _ := split(full)
	_, err := chain.Seal(header, hashed(""), Sealing{Key: key, Now: time.Now()})
	if !errors.Is(err, dkim.ErrUnsignable) {
		t.Errorf("a set was added to 50: %v", err)
	}
	for why, more := range map[string]string{"instance 51": "ARC-Seal: i=51; cv=pass\r\n",
		"one field more": "ARC-Seal: i=1; cv=pass\r\n"} {
		if chain, result := verify(t, more+full, records); result.Status != dkim.Fail ||
			chain.Obstacle() == "" {
			t.Errorf("%s: %s, obstacle %q", why, result.Status, chain.Obstacle())
		}
	}
}

func TestInstancesAreReadAsTheRFCWritesThem(t *testing.T) {
	for text, want := range map[string]int{"1": 1, "50": 50, "51": 51, "01": 1, "0": 0, "": 0, "001": 0,
		"+1": 0, "-1": 0, "1 2": 0, "1a": 0, "\xb2": 0} {
		if got := parseInstance(text); got != want {
			t.Errorf("i=%s: %d, want %d", text, got, want)
		}
	}
	for field, want := range map[string]string{
		" i=1; x": "1", "\r\n\ti = 2\r\n ; x": "2", "i=3;": "3", " i=4": "", " x; i=5;": "", " I=6; x": "",
		"": "", " i; x": "",
	} {
		if got := resultsInstance(dkim.Field("ARC-Authentication-Results:" + field)); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

// Older message signatures decide nothing: what they cost is bounded, and then nothing is said of them.
func TestOlderSignaturesAreLeftAloneIfTheyCostMuch(t *testing.T) {
	key, _ := newKey(t, "example.org", "s")
	records := publish(t, key)
	message := strings.Replace(letter, "Subject: ",
		"Subject: "+strings.Repeat(strings.Repeat("x", 70)+"\r\n ", 600<<10/73), 1)
	status := "none"
	for range 5 {
		message, status = seal(t, message, status, key), "pass"
	}
	if _, result := verify(t, message, records); result.Status != dkim.Pass || result.OldestPass != nil {
		t.Errorf("%s, oldest-pass %v", result.Status, result.OldestPass)
	}
}
