package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postmend/postfix/check"
)

// Whoever has many domains sees what is wrong without pages of records, and gets the records by a flag.
func TestManyRecordsAreShownInShort(t *testing.T) {
	var records []string
	for i := range 25 {
		records = append(records, fmt.Sprintf(`a._domainkey.d%02d.example. IN TXT "v=DKIM1; p=AAAA"`, i))
	}
	findings := []check.Finding{
		{Area: "DNS", Name: "dns-dkim", Severity: check.Error, What: "no such record", Why: "it fails",
			Publish: strings.Join(records, "\n")},
		{Area: "DNS", Name: "dns-mx", Severity: check.Error, What: "no MX", Why: "bounces are lost",
			Publish: "srs.example. IN MX 10 mx.example."},
		{Area: "DNS", Name: "dns-ptr", Severity: check.OK, What: "fine"},
	}
	var page, zone bytes.Buffer
	if err := writeFindings(&page, findings, false); err != nil {
		t.Fatal(err)
	}
	if err := writeRecords(&zone, findings); err != nil {
		t.Fatal(err)
	}
	shown := page.String()
	if strings.Contains(shown, "_domainkey") || !strings.Contains(shown, "25 records") ||
		!strings.Contains(shown, "check --records") || !strings.Contains(shown, "IN MX 10 mx.example.") {
		t.Errorf("%s", shown)
	}
	for line := range strings.Lines(zone.String()) {
		if !strings.HasPrefix(line, "; ") && !strings.Contains(line, " IN ") {
			t.Errorf("%q is no line of a zone file", line)
		}
	}
	if got := strings.Count(zone.String(), " IN "); got != 26 {
		t.Errorf("%d records:\n%s", got, zone.String())
	}
}

// Postfix that is down, or not there, need not reload; another instance has a command of its own.
func TestTheReloadIsThatOfTheInstance(t *testing.T) {
	for reload, want := range map[string]string{"": "", "postfix -c /etc/out reload": "postfix -c " +
		"/etc/out reload"} {
		var page bytes.Buffer
		findings := []check.Finding{{Severity: check.Error, What: "x", Mend: "postconf -e " +
			"a=b", Reload: reload}}
		if err := writeFindings(&page, findings, false); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(page.String(), "After a change"); got != (want != "") ||
			!strings.Contains(page.String(), want) {
			t.Errorf("%q: %s", reload, page.String())
		}
	}
}
