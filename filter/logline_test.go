package filter

import (
	"strings"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/plan"
)

// The codes tell programs why a signature does not survive, not only that From: was rewritten.
func TestTheReasonForAReasonIsLoggedAsACode(t *testing.T) {
	why := cause.FromRewritten.About(cause.KeyTesting.About(), "a.example", "reject")
	d := plan.Delivery{Class: plan.Forwarded, Reasons: []cause.Reason{why}}
	log := newLogLine(&plan.Envelope{QueueID: "4F1A2B3C4D"})
	log.planned(plan.Plan{Deliveries: []plan.Delivery{d}}, plan.Facts{})
	line := log.String()
	if !strings.Contains(line, ` why=from-rewritten,key-testing notes="From: rewritten: the key`) {
		t.Error(line)
	}
}

// The log is read at night: what went wrong stands before how the message was to be mended.
func TestTheCauseOfAFailureComesFirst(t *testing.T) {
	log := newLogLine(&plan.Envelope{QueueID: "4F1A2B3C4D"})
	d := plan.Delivery{Class: plan.Forwarded, Reasons: []cause.Reason{cause.SenderRewritten.About()}}
	log.planned(plan.Plan{Deliveries: []plan.Delivery{d}}, plan.Facts{})
	log.finish(cause.NextHopFailed.Failure(nil, "connect"))
	line := log.String()
	if !strings.Contains(line,
		` why=failed,next-hop-failed,sender-rewritten notes="next hop failed at connect`) {
		t.Error(line)
	}
}
