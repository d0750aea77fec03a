package outcome

import (
	"errors"
	"fmt"
	"testing"

	"postmend/cmd/postmend/syslog"
	"postmend/filter/cause"
	"postmend/postfix"
)

func TestAFailureBehindAWrapKeepsItsOutcome(t *testing.T) {
	for name, row := range map[string]struct {
		err      error
		outcome  postfix.Outcome
		severity syslog.Severity
	}{
		"none":          {nil, postfix.Delivered, syslog.Info},
		"usage":         {Misused(errors.New("x")), postfix.Misused, syslog.Error},
		"configuration": {Misconfigured("x", errors.New("y")), postfix.Misconfigured, syslog.Error},
		"refusal":       {&cause.Failure{Kind: cause.Policy}, postfix.Refused, syslog.Warning},
		"no user":       {&cause.Failure{Kind: cause.NoSuchUser}, postfix.NoSuchUser, syslog.Warning},
		"bad message":   {&cause.Failure{Kind: cause.BadMessage}, postfix.BadMessage, syslog.Warning},
		"temporary":     {&cause.Failure{}, postfix.Deferred, syslog.Warning},
		"unknown":       {errors.New("never heard of"), postfix.Deferred, syslog.Warning},
	} {
		err := row.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if Of(err) != row.outcome || Severity(err) != row.severity {
			t.Errorf("%s: %v, severity %d", name, Of(err), Severity(err))
		}
	}
}
