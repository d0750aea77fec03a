package filter

import (
	"slices"
	"strings"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

func spooled(t testing.TB, text string) *message.Message {
	t.Helper()
	m, err := message.Read(strings.NewReader(text), message.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// pipe(8) writes a line end after the last line even if it had none.
func TestAMessageThatDoesNotEndAsPipeEndsItIsCutShort(t *testing.T) {
	large := strings.Repeat("line\n", (1 << 20)) // more than what stays in memory
	for text, want := range map[string]bool{"": false, "x": false, "Subject: x\n\nbo": false,
		"Subject: x\n\nbody\r": false, large + "li": false, "x\n": true, "x\r\n": true, large: true} {
		err := checkWhole(spooled(t, text), true)
		if (err == nil) != want || !cause.AsFailure(err).Temporary() {
			t.Errorf("%.20q, %d octets: %v", text, len(text), err)
		}
		if err := checkWhole(spooled(t, text), false); (err == nil) != (text != "") {
			t.Errorf("by hand, %.20q, %d octets: %v", text, len(text), err)
		}
	}
}

func TestAFromLineIsAFaultOfMasterCF(t *testing.T) {
	const text = "From alice@b.example  Mon Nov  2 10:00:00 2026\nSubject: x\n\nbody\n"
	err := checkWhole(spooled(t, text), true)
	f := cause.AsFailure(err)
	if err == nil || f.Kind != cause.Configuration || !strings.Contains(f.Reason, "flags=") {
		t.Errorf("got %v", err)
	}
	if err := checkWhole(spooled(t, text), false); err != nil {
		t.Errorf("by hand: %v", err)
	}
	// RFC 5322 section 4.5 allows blanks before the colon.
	for _, field := range []string{"From : alice@b.example\n", "From \t : alice@b.example\n"} {
		m := spooled(t, field+"\nbody\n")
		if checkWhole(m, true) != nil || !slices.Equal(m.Authors(), []string{"b.example"}) {
			t.Errorf("%q is a field: %v, %q", field, checkWhole(m, true), m.Authors())
		}
	}
}

// A milter that deletes header fields leaves them in the queue file and in ${size}.
func TestAShortfallIsOnlyNoted(t *testing.T) {
	m := spooled(t, strings.Repeat("\n", 10000)) // the queue file takes two octets for each
	if note := shortfall(m, 20000); note != "" {
		t.Errorf("noted %q", note)
	}
	if note := shortfall(m, 50000); !strings.Contains(note, "10000 octets") {
		t.Errorf("noted %q", note)
	}
	if err := checkWhole(m, true); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestTraceFieldsNameTheRecipientAndTheAlias(t *testing.T) {
	got := traceFields(plan.Recipient{Address: "x@remote.example", Original: "alias@example.org"})
	if len(got) != 2 || string(got[0]) != "X-Forwarded-To: x@remote.example\r\n" ||
		string(got[1]) != "X-Forwarded-For: alias@example.org x@remote.example\r\n" {
		t.Errorf("got %q", got)
	}
	if got := traceFields(plan.Recipient{Address: "x@remote.example"}); len(got) != 1 {
		t.Errorf("without the alias: %q", got)
	}
}
