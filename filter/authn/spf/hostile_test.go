package spf

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile are records of a size. Those that are read to their end are evaluated as often as includes allow.
func hostile(octets int) map[string]string {
	fill := func(head, part, tail string) string {
		return head + strings.Repeat(part, (octets-len(head)-len(tail))/len(part)) + tail
	}
	return map[string]string{
		"terms":              fill("v=spf1 include:h.test", " ip4:192.0.2.99", ""),
		"modifiers":          fill("v=spf1 include:h.test", " a=", ""),
		"spaces":             fill("v=spf1 include:h.test", " ", "x"),
		"a long name":        fill("v=spf1 include:h.test a:", "x.", "org"),
		"one label":          fill("v=spf1 include:h.test a:", "x", ".org"),
		"macros":             fill("v=spf1 exists:", "%{l}", ".org include:h.test"),
		"reversed macros":    fill("v=spf1 exists:", "%{lr-}", ".org include:h.test"),
		"escaped macros":     fill("v=spf1 exists:", "%{L}", ".org include:h.test"),
		"names of clients":   fill("v=spf1 exists:", "%{p}", ".org include:h.test"),
		"empty macros":       fill("v=spf1 exists:", "%{h}", ".org include:h.test"),
		"delimiters":         fill("v=spf1 exists:%{l", "-", "} include:h.test"),
		"digits":             fill("v=spf1 exists:%{l", "1", "} include:h.test"),
		"unfinished macros":  fill("v=spf1 exists:", "%{", ""),
		"percents":           fill("v=spf1 exists:", "%%", " include:h.test"),
		"slashes":            fill("v=spf1 include:h.test a", "/", "24"),
		"a long prefix":      fill("v=spf1 include:h.test a/", "1", ""),
		"a long address":     fill("v=spf1 include:h.test ip6:", ":1", ""),
		"includes":           fill("v=spf1", " include:h.test", ""),
		"redirects":          "v=spf1 redirect=h.test",
		"names of exchanges": fill("v=spf1", " mx:h.test", ""),
	}
}

// expense is what a check costs.
type expense struct {
	lookups   int
	allocated uint64 // octets
	time      time.Duration
}

func expenseOf(t *testing.T, record string) expense {
	t.Helper()
	z := parseZone(t, "h.test TXT "+record)
	for n := range 200 {
		z["h.test"] = append(z["h.test"], []string{"MX", fmt.Sprintf("10 mx%d.test.", n)})
		z["1.2.0.192.in-addr.arpa"] = append(z["1.2.0.192.in-addr.arpa"],
			[]string{"PTR", fmt.Sprintf("mx%d.test.", n)})
	}
	l := listener{Resolver: z}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	Check(t.Context(), &l, identify("192.0.2.1", "", strings.Repeat("x-", 30)+"@h.test"))
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return expense{len(l.asked), after.TotalAlloc - before.TotalAlloc, took}
}

// TestHostileRecordsCostLittle: look-ups and memory are bounded, and time grows with the size, not with its
// square, by which four times the size would take sixteen times as long.
func TestHostileRecordsCostLittle(t *testing.T) {
	const large, small = 64_000, 16_000
	few := hostile(small)
	for name, record := range hostile(large) {
		got := expenseOf(t, record)
		t.Logf("%-20s %+v", name, got)
		if got.lookups > 111 || got.allocated > 4<<20 {
			t.Errorf("%s: %+v", name, got)
		}
		grows := func() bool { return expenseOf(t, record).time > 8*expenseOf(t, few[name]).time }
		const attempts = 10 // a busy machine can make one of them look bad
		for n := 1; got.time > 100*time.Millisecond && grows(); n++ {
			if n == attempts {
				t.Errorf("%s: %v, and less than an eighth for a quarter", name, got.time)
				break
			}
		}
	}
}
