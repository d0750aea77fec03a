package filter

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpuOf is the least processor time, of several runs, that a message takes.
func cpuOf(t *testing.T, f *Filter, text string) time.Duration {
	env := readEnvelope(t, "from: alice@bank.example\nto: bob@remote.example\noriginal: alias@example.org\n")
	least := time.Hour
	for range 15 {
		before := cpuTime(t)
		if _, err := f.Run(context.Background(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		least = min(least, cpuTime(t)-before)
	}
	return least
}

func cpuTime(t *testing.T) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A chain costs at most four times what a plain message of the same size does.
func TestNoChainCostsMuch(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector makes other things dear")
	}
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of newWorld
	w := newWorld(t)
	long, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(long.Public())
	w.keys["long"] = long
	s := scenario{"zone": "bank.example TXT v=spf1 ip4:192.0.2.25 -all\n_dmarc.bank.example TXT v=DMARC1; " +
		"p=reject\n" +
		// With SPF that names us, a header that is not read would be rejected.
		"mx.example.org A 192.0.2.80\nmx.example.org TXT v=spf1 -all\n" +
		"long._domainkey.list.example TXT v=DKIM1; p=" +
		base64.StdEncoding.EncodeToString(der) + "\n" +
		"other._domainkey.list.example TXT " + w.records["other"] + "\n"}
	_, target := startExit(t)
	dns := w.dns(t, s)
	f, err := New(w.config(t, s, dns.Addr(), target), Options{Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}

	const head = "From: Alice <alice@bank.example>\r\nTo: alias@example.org\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
	const body = "Good morning.\r\n"
	chain := func(head, key string) string {
		for range 49 {
			head = w.seal(t, "d=list.example key="+key+" s="+key, head, body) + head
		}
		return head
	}
	large := "Subject: " + strings.Repeat(strings.Repeat("x", 70)+"\r\n ", 800<<10/73) + "x\r\n" + head
	for _, c := range []struct{ name, header string }{
		{"a chain of 49 sets", chain(head, "other")},
		{"one whose sets all cover 800 KiB of header", chain(large, "other")},
		{"one by a key of 3072 bits", chain(head, "long")},
		{"1000 broken sets", strings.Repeat(w.seal(t, "d=list.example key=other s=other", head, body),
			999) + head},
	} {
		const padding = "X-Padding: " +
			"0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
		like := head
		if strings.HasSuffix(c.header, large) {
			like = large
		}
		plain := strings.Repeat(padding, (len(c.header)-len(like))/len(padding)) + like
		cost, usual := cpuOf(t, f, c.header+"\r\n"+body), cpuOf(t, f, plain+"\r\n"+body)
		t.Logf("%s, %d octets: %v, plain %v", c.name, len(c.header), cost, usual)
		if cost > 4*usual {
			t.Errorf("%s, %d octets: %v of processor time, plain mail %v", c.name, len(c.header), cost, usual)
		}
	}
}
