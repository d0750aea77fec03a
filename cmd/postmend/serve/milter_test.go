package serve

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postmend/cmd/postmend/syslog"
	"postmend/filter/cause"
	"postmend/postfix/milter"
)

// Whatever is wrong on this host, the message goes on: the filter judges it.
func TestAFaultOfOursRefusesNoMessage(t *testing.T) {
	d := &door{current: func() (*loaded, error) { panic("a fault") }, log: syslog.Log{Socket: "/nonexistent"}}
	verdict := d.judge(context.Background(), &milter.Envelope{}, strings.NewReader("From: x\r\n\r\n"))
	if verdict.Reply != "" || verdict.Delete != nil {
		t.Errorf("%+v", verdict)
	}
}

// A reply is one line of RFC 5321, whatever a stranger has written into the message.
func TestARefusalIsOneLineOfSMTP(t *testing.T) {
	for _, row := range []struct {
		failure cause.Failure
		want    string
	}{
		{cause.Failure{Kind: cause.Policy, Code: "5.7.1", Reason: "no"}, "550 5.7.1 no"},
		{cause.Failure{Kind: cause.BadMessage, Code: "5.6.0", Reason: "no"}, "554 5.6.0 no"},
		{cause.Failure{Code: "4.4.3", Reason: "later"}, "451 4.4.3 later"},
		{cause.Failure{Err: errors.New("x"), Reason: "later"}, "451 4.3.0 later"},
		{cause.Failure{Kind: cause.Policy, Reason: "100%\r\n250 ok\x00\x1b[31m é"},
			"550 5.7.1 100???250 ok??[31m ?"},
	} {
		if got := replyOf(&row.failure); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	long := cause.Failure{Kind: cause.Policy, Code: "5.7.1", Reason: strings.Repeat("x", 5000)}
	if got := replyOf(&long); len(got) > 510 {
		t.Errorf("%d octets", len(got))
	}
}
