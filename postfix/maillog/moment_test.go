package maillog

import (
	"testing"
	"time"
)

func TestPointsInTimeAreReadInEveryDocumentedForm(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 25, 10, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"2026-11-24":           "2026-11-24T00:00:00+01:00",
		"2026-11-24 15:04":     "2026-11-24T15:04:00+01:00",
		"2026-11-24T15:04:05Z": "2026-11-24T16:04:05+01:00",
		"today":                "2026-11-25T00:00:00+01:00",
		"yesterday":            "2026-11-24T00:00:00+01:00",
		"24h":                  "2026-11-24T10:30:00+01:00",
		"7d":                   "2026-11-18T10:30:00+01:00",
		"90m":                  "2026-11-25T09:00:00+01:00",
	} {
		got, err := ParseMoment(text, now)
		if err != nil || got.In(zone).Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-24h", "-1d", "d", "2026-13-01", "1.5d"} {
		if got, err := ParseMoment(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
