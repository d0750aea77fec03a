package dkim

import (
	"context"
	"io"
	"runtime"
	"testing"
)

// silent never answers, whatever the context says.
type silent struct{}

func (silent) LookupTXT(context.Context, string) ([]string, error) { select {} }

func TestAResolverThatNeverAnswersIsNotWaitedFor(t *testing.T) {
	by, _ := ruleKeys(t)
	header, n := SplitHeader([]byte(by.sign(t, with(), ruleHeader, ruleBody)))
	v := NewVerifier(header, VerifyOptions{Resolver: silent{}})
	if _, err := io.WriteString(v, ruleBody); err != nil {
		t.Fatal(n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := statuses(v.Verify(ctx)); got != "temperror key look-up took too long" {
		t.Error(got)
	}
}

// lastMoment answers when the context has just ended.
type lastMoment struct {
	zone
	end context.CancelFunc
}

func (l lastMoment) LookupTXT(ctx context.Context, name string) ([]string, error) {
	l.end()
	return l.zone.LookupTXT(ctx, name)
}

// TestAKeyThatCameInTimeCounts: of an answer and the end of the time, which both are there, the answer.
func TestAKeyThatCameInTimeCounts(t *testing.T) {
	by, records := ruleKeys(t)
	text := []byte(by.sign(t, with(), ruleHeader, ruleBody))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that mostly both are there
	const times = 50
	counted := 0
	for range times {
		ctx, end := context.WithCancel(t.Context())
		header, _ := SplitHeader(text)
		v := NewVerifier(header, VerifyOptions{Resolver: lastMoment{records, end}})
		if _, err := io.WriteString(v, ruleBody); err != nil {
			t.Fatal(err)
		}
		if statuses(v.Verify(ctx)) == "pass" {
			counted++
		}
	}
	if counted == 0 {
		t.Errorf("none of %d keys counted", times)
	}
}
