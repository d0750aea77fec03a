package cause

import (
	"strings"
	"testing"
)

func TestEachCauseHasATextThatFormats(t *testing.T) {
	for _, c := range All() {
		format := strings.ReplaceAll(causes[c].format, "%%", "")
		about := make([]any, strings.Count(format, "%"))
		for n := range about {
			about[n] = "x"
		}
		if text := c.About(about...).Text; text == "" || strings.Contains(text, "%!") {
			t.Errorf("%s: %q", c.Code(), text)
		}
		// RFC 3463 section 2: the class of a code says whether the sender gets a bounce.
		f := c.Failure(nil, about...)
		if f.Code != "" && strings.HasPrefix(f.Code, "4.") != f.Temporary() {
			t.Errorf("%s: temporary %t, code %s", c.Code(), f.Temporary(), f.Code)
		}
	}
}
