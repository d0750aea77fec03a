package spf

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile are records of 64 KB. Those that are read to their end are evaluated as often as includes allow.
func hostile() map[string]string {
	fill := func(head, part, tail string) string {
		return head + strings.Repeat(part, (64000-len(head)-len(tail))/len(part)) + tail
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

func TestHostileRecordsCostLittle(t *testing.T) {
	for name, record := range hostile() {
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
		got := Check(t.Context(), &l, identify("192.0.2.1", "", strings.Repeat("x-", 30)+"@h.test"))
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-20s %v, %d look-ups, %d KB, %v", name, took.Round(time.Microsecond), len(l.asked),
			allocated>>10, got)
		if len(l.asked) > 111 || allocated > 4<<20 || took > time.Second {
			t.Errorf("%s: %v, %d look-ups, %d octets", name, took, len(l.asked), allocated)
		}
	}
}
