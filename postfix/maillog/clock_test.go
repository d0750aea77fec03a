package maillog

import (
	"strings"
	"testing"
	"time"
)

func TestStampsOfEveryFormMeanTheSameTime(t *testing.T) {
	zone := time.FixedZone("", 3600)
	latest := time.Date(2026, 12, 1, 0, 0, 0, 0, zone)
	want := time.Date(2026, 11, 25, 0, 48, 17, 0, zone).Unix()
	for _, stamp := range []string{
		"Nov 25 00:48:17", "Nov 25 00:48:17.123456", // syslog, journalctl -o short and short-precise
		"2026-11-25T00:48:17.123456+01:00", "2026-11-24T23:48:17Z", // rsyslog
		// journalctl -o short-iso
		"2026-11-25T00:48:17+0100", "2026-11-25T00:48:17+01", "2026-11-24T18:48:17.5-05:00",
		"2026-11-25 00:48:17",
	} {
		c := clock{latest: latest, zone: zone}
		at, rest, ok := c.read([]byte(stamp + " mx postfix/qmgr[1]: x"))
		if !ok || at != want || string(rest) != "mx postfix/qmgr[1]: x" {
			t.Errorf("%q: %v %v, rest %q; want %v", stamp, time.Unix(at, 0).In(zone), ok, rest,
				time.Unix(want, 0).In(zone))
		}
	}
}

func TestTheYearOfAClassicStampIsFoundOverNewYear(t *testing.T) {
	for _, c := range []struct {
		latest string
		stamps []string
		want   []string
	}{
		{"2027-01-03", []string{"Dec 30 23:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59",
			"Jan  2 10:00:00"},
			[]string{"2026-12-30", "2026-12-31", "2027-01-01", "2026-12-31", "2027-01-02"}},
		{"2026-11-25", []string{"Nov 24 10:00:00"}, []string{"2026-11-24"}},
		{"2026-11-25", []string{"Nov 30 10:00:00"}, []string{"2025-11-30"}},
		{"2026-11-25", []string{"Feb 29 10:00:00"}, []string{"2024-02-29"}},
		{"2026-10-20", []string{"Feb  2 10:00:00", "Oct  3 10:00:00", "Oct 19 10:00:00"},
			[]string{"2026-02-02", "2026-10-03", "2026-10-19"}},
		{"2026-05-20", []string{"Oct 30 10:00:00", "May 19 10:00:00"}, []string{"2025-10-30", "2026-05-19"}},
		{"2026-12-30", []string{"Dec 31 23:00:00", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 01:00:00",
			"Dec 29 10:00:00"},
			[]string{"2025-12-31", "2026-01-01", "2025-12-31", "2026-01-01", "2025-12-29"}},
		{"2026-12-30", []string{"Dec 31 23:00:00", "Jan  1 00:00:00", "Dec 20 10:00:00"},
			[]string{"2025-12-31", "2026-01-01", "2026-12-20"}},
		{"2026-11-25", []string{"Nov 20 10:00:00", "Sep  1 10:00:00", "Oct  1 10:00:00"},
			[]string{"2026-11-20", "2026-09-01", "2026-10-01"}},
		{"2024-03-02", []string{"Dec 31 10:00:00", "Feb 29 10:00:00", "Mar  1 10:00:00"},
			[]string{"2023-12-31", "2024-02-29", "2024-03-01"}},
		{"2025-06-01", []string{"Jan  5 10:00:00", "May 31 23:00:00"}, []string{"2025-01-05", "2025-05-31"}},
	} {
		latest, _ := time.Parse(time.DateOnly, c.latest)
		clock := clock{latest: latest, zone: time.UTC}
		for n, stamp := range c.stamps {
			at, _, ok := clock.read([]byte(stamp + " mx x"))
			if got := time.Unix(at, 0).UTC().Format(time.DateOnly); !ok || got != c.want[n] {
				t.Errorf("file of %s: %q is %s, %v; want %s", c.latest, stamp, got, ok, c.want[n])
			}
		}
	}
}

func TestWhatIsNoStampIsNoLine(t *testing.T) {
	for _, line := range []string{"", "-- Journal begins at Mon 2026-11-23 --", "Nov 25 00:48:1",
		"Nov 25 0a:48:17 mx x", "Foo 25 00:48:17 mx x",
		"2026-11-25T00:48:17+zz mx x", "2026-11-25T00:48:17+01:00:00 mx x", "2026-11-25Tab:48:17Z mx x",
		"Nov 25 00:48:17.123", "99999999999999999999999"} {
		c := clock{latest: time.Now(), zone: time.UTC}
		if at, _, ok := c.read([]byte(line)); ok {
			t.Errorf("%q is taken for %d", line, at)
		}
	}
}

// journalctl writes names in the language of whoever calls it. These are the names of glibc's locales.
func TestStampsOfOtherLanguagesAreRead(t *testing.T) {
	latest := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	for language, names := range map[string]string{
		"de": "Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez",
		"fr": "janv. févr. mars avril mai juin juil. août sept. oct. nov. déc.",
		"es": "ene feb mar abr may jun jul ago sep oct nov dic",
		"pt": "jan fev mar abr mai jun jul ago set out nov dez",
		"it": "gen feb mar apr mag giu lug ago set ott nov dic",
		"nl": "jan feb mrt apr mei jun jul aug sep okt nov dec",
		"sv": "jan feb mar apr maj jun jul aug sep okt nov dec",
		"nb": "jan. feb. mars april mai juni juli aug. sep. okt. nov. des.",
		"fi": "tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu",
		"pl": "sty lut mar kwi maj cze lip sie wrz paź lis gru",
		"cs": "led úno bře dub kvě čen čec srp zář říj lis pro",
		"hu": "jan febr márc ápr máj jún júl aug szept okt nov dec",
		"tr": "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara",
		"ru": "янв фев мар апр мая июн июл авг сен окт ноя дек",
		"ja": "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
		"ko": "1월 2월 3월 4월 5월 6월 7월 8월 9월 10월 11월 12월",
	} {
		for n, name := range strings.Fields(names) {
			for _, day := range []string{" 5", "25"} {
				c := clock{latest: latest, zone: time.UTC}
				at, rest, ok := c.read([]byte(name + " " + day + " 00:48:17 mx postfix/smtpd[1]: x"))
				got := time.Unix(at, 0).UTC()
				if !ok || int(got.Month()) != n+1 || got.Second() != 17 ||
					!strings.HasPrefix(string(rest), "mx post") {
					t.Errorf("%s: %s %s: %v, %q, %v", language, name, day, got, rest, ok)
				}
			}
		}
	}
	for line, want := range map[string]bool{
		"Mi 2026-11-25 00:48:17 CET mx postfix/smtpd[1]: x":   true,
		"mer. 2026-11-25 00:48:17 UTC mx postfix/smtpd[1]: x": true,
		"水 2026-11-25 00:48:17 JST mx postfix/smtpd[1]: x":    true,
		"13月 25 00:48:17 mx postfix/smtpd[1]: x":              false,
		"foo 25 00:48:17 mx postfix/smtpd[1]: x":              false,
		". 25 00:48:17 mx postfix/smtpd[1]: x":                false,
	} {
		c := clock{latest: latest, zone: time.UTC}
		if at, _, ok := c.read([]byte(line)); ok != want || ok && time.Unix(at, 0).UTC().Day() != 25 {
			t.Errorf("%s: %v, %v", line, time.Unix(at, 0).UTC(), ok)
		}
	}
}
