package filter

import (
	"strings"
	"testing"
)

func TestEachCauseHasATextThatFormats(t *testing.T) {
	for _, cause := range Causes() {
		format := strings.ReplaceAll(causes[cause].format, "%%", "")
		about := make([]any, strings.Count(format, "%"))
		for n := range about {
			about[n] = "x"
		}
		if text := cause.about(about...).Text; text == "" || strings.Contains(text, "%!") {
			t.Errorf("%s: %q", cause.Code(), text)
		}
	}
}

// The log is read at night: what went wrong stands before how the message was to be mended.
func TestTheCauseOfAFailureComesFirst(t *testing.T) {
	log := newLogLine(&Envelope{QueueID: "4F1A2B3C4D"})
	log.planned(Plan{Deliveries: []Delivery{{Class: Forwarded, Reasons: []Reason{SenderRewritten.about()}}}}, facts{})
	log.finish(&Failure{Kind: Temporary, Reason: "connection refused"})
	line := log.String()
	if !strings.Contains(line, ` why=failed,sender-rewritten notes="connection refused`) {
		t.Error(line)
	}
}
